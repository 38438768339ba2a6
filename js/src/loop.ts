import type { Subscription } from './api.js';
import { JugglerError } from './error.js';
import { bind } from './bind.js';
import { checkSubscription } from './check.js';
import { Feed } from './subscription.js';
import { Timer } from './time.js';
import type { Topic } from './topic.js';
import type { JugglerEvent, SubscribeOptions } from './types.js';

const done: IteratorResult<never> = { value: undefined, done: true };

/** A subscription whose events can be taken in a loop. */
export class LoopFeed<E = JugglerEvent> extends Feed<E> implements Subscription<E> {
  #topic: Topic;
  #options: SubscribeOptions;
  #whenReady: Set<(error?: JugglerError) => void> | undefined;
  #handler: unknown;
  /** Events are kept for a loop: there is no handler, or a loop has begun. */
  #buffering: boolean;
  #events: E[] = [];
  #waiting: ((result: IteratorResult<E> | Promise<never>) => void)[] = [];
  /** The error, until the loop has thrown it. */
  #unthrown: JugglerError | undefined;

  constructor(topic: Topic, options: SubscribeOptions, handler?: (event: E) => void) {
    super(topic, options, handler);
    bind(this, 'next', 'return', /* @__KEY__ */ '_getReady');
    this.#topic = topic;
    this.#options = options;
    this.#handler = handler;
    this.#buffering = !handler;
  }

  override _start(): void {
    try {
      checkSubscription(this.#topic._channel, this.#options, this.#handler);
    } catch (error) {
      // It has ended: components that subscribe go on.
      this.#topic._owner._report(error as JugglerError);
      return this._fail(error as JugglerError);
    }
    super._start();
  }

  get ready(): Promise<void> {
    return this._getReady();
  }

  _getReady(): Promise<void> {
    const ready = new Promise<void | undefined>((resolve) => {
      const topic = this.#topic;
      const { _isReady: isReady, _refusal: refusal } = this;
      const { _owner: owner } = topic;
      const { timeout } = owner._settings;
      const whenReady = (this.#whenReady ??= new Set());
      const settle = (error?: JugglerError): void => {
        timer._clear();
        whenReady.delete(settle);
        resolve(error && Promise.reject(error));
      };
      const timer = new Timer()._set(timeout, () => {
        const message = `${this.channel}: no answer within ${timeout} ms`;
        settle(new JugglerError(408, message, 'unknown', { cause: owner._lastError ?? this._refusal }));
      });
      whenReady.add(settle);
      const error = this._ended ?? (isReady ? undefined : (owner._stopped ?? (refusal?.retryable ? undefined : refusal)));
      if (isReady || error) settle(error);
    });
    bind(ready, 'then', 'catch', 'finally'); // It is read as a property, so a Proxy wraps it.
    ready.catch(() => {}); // Whoever only looks at it need not mind.
    return ready;
  }

  /** Whether what it waits for is there. */
  get _isReady(): unknown {
    return this.#topic._link;
  }

  /** Why it is refused, if so: see topics. */
  get _refusal(): JugglerError | undefined {
    return this.#topic._refusal;
  }

  async next(): Promise<IteratorResult<E>> {
    if (this.#events.length) return { value: this.#events.shift()!, done: false };
    // A handler can wait until it is asked for again, a loop would hang.
    const { _refusal: refusal } = this;
    if (refusal && !this.#handler) this._end(refusal);
    const error = this.#unthrown;
    this.#unthrown = undefined;
    if (this._ended ?? this.#topic._owner._stopped) {
      if (error) throw error;
      return done;
    }
    this.#buffering = true;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async return(): Promise<IteratorResult<E>> {
    this.#events = [];
    this.unsubscribe();
    return done;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  override _settle(error?: JugglerError): void {
    for (const settle of this.#whenReady ?? []) settle(error);
    super._settle(error);
  }

  override _push(event: E): void {
    const resolve = this.#waiting.shift();
    const { buffer = 1_024 } = this.#options;
    if (resolve) resolve({ value: event, done: false });
    else if (this.#buffering && this.#events.push(event) > buffer) {
      this.#events.pop();
      this._fail(new JugglerError(4500, `${this.channel}: more than ${buffer} events wait for the iterator`));
    }
    super._push(event);
  }

  /** A loop would hang where a handler can wait for `connect()`. */
  override _suspend(reason: JugglerError): void {
    const error = reason.code === 1000 ? undefined : reason;
    if (!this.#handler) return void this._end(error);
    super._suspend(reason);
    this.#endLoop(error);
    this.#buffering = false;
  }

  override _refused(error: JugglerError): void {
    if (!this.#handler && (this.#waiting.length || !error.retryable)) this._fail(error);
    else super._refused(error);
  }

  override _end(error?: JugglerError): boolean {
    const ends = super._end(error);
    if (ends) this.#endLoop(error);
    return ends;
  }

  #endLoop(error: JugglerError | undefined): void {
    if (!this.#waiting.length) this.#unthrown = error;
    this.#waiting.splice(0).forEach((resolve) => resolve(error ? Promise.reject(error) : done));
  }
}
