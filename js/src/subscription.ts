import type { CoreSubscription } from './api.js';
import { bind } from './bind.js';
import { JugglerError } from './error.js';
import { onAbort } from './signal.js';
import type { Topic } from './topic.js';
import type { Gap, JugglerEvent, SubscribeOptions } from './types.js';

/** One subscription of the application, from its side and from that of its topic. */
export class Feed<E = JugglerEvent> implements CoreSubscription {
  readonly channel: string;
  readonly pattern: boolean;

  #options: SubscribeOptions;
  #topic: Topic;
  #handler: ((event: E) => void) | undefined;
  #ended: JugglerError | undefined;
  /** Whether the application knows that it is refused. */
  #told = false;
  #unwatch: (() => void) | undefined;

  constructor(topic: Topic, options: SubscribeOptions, handler?: (event: E) => void) {
    bind(this, 'unsubscribe');
    this.channel = String(topic._channel);
    this.pattern = topic._pattern;
    this.#options = options;
    this.#topic = topic;
    this.#handler = handler;
  }

  /** Begins, once it is made. */
  _start(): void {
    const { signal } = this.#options;
    if (signal?.aborted) return this.unsubscribe();
    const topic = this.#topic;
    this.#unwatch = signal && onAbort(signal, this.unsubscribe);
    topic._add(this);
    const { _link: link, _owner: owner } = topic;
    if (link) void Promise.resolve().then(() => this.#ended || this._settle());
    if (owner._stopped) this._suspend(owner._stopped);
  }

  unsubscribe(): void {
    this._end();
  }

  [Symbol.dispose](): void {
    this.unsubscribe();
  }

  /** Why it has ended, if it has. */
  get _ended(): JugglerError | undefined {
    return this.#ended;
  }

  /** An event for this subscription. */
  _push(event: E): void {
    this.#tell(() => this.#handler?.(event));
  }

  /** Events may have been missed. */
  _gap(gap: Gap): void {
    this.#tell(() => this.#options.onGap?.(gap));
  }

  /** Confirmed, or not to be confirmed for now. */
  _settle(error?: JugglerError): void {
    this.#told = false;
    if (!error) this.#tell(() => this.#options.onReady?.());
  }

  /** The client has stopped: nothing comes until `connect()`. */
  _suspend(reason: JugglerError): void {
    this._settle(reason);
  }

  /** Refused, and to be asked for again. */
  _refused(error: JugglerError): void {
    const told = this.#told;
    if (!error.retryable) this._settle(error);
    this.#told = true;
    if (!told) this.#tell(() => this.#options.onError?.(error));
  }

  /** It cannot be asked for, or has overflown. */
  _fail(error: JugglerError): void {
    this._end(error);
    this.#tell(() => this.#options.onError?.(error));
  }

  /** Ends it; without error, as the application wants it. False: it had ended before. */
  _end(error?: JugglerError): boolean {
    if (this.#ended) return false;
    this.#ended = error ?? new JugglerError(1000, `${this.channel}: unsubscribed`, 'refused');
    this.#unwatch?.();
    this.#topic._remove(this);
    this._settle(this.#ended);
    return true;
  }

  #tell(code: () => unknown): void {
    this.#topic._owner._run(`a handler of ${this.channel}`, code);
  }
}
