import type { Subscription } from './api.js';
import { bind } from './bind.js';
import { JugglerError } from './error.js';
import { onAbort } from './signal.js';
import type { Topic } from './topic.js';
import type { Gap, JugglerEvent, SubscribeOptions } from './types.js';

interface Waiting<E> {
  resolve(result: IteratorResult<E>): void;
  reject(reason: unknown): void;
}

/** One subscription of the application, from its side and from that of its topic. */
export class Feed<E = JugglerEvent> implements Subscription<E> {
  readonly channel: string;
  readonly pattern: boolean;

  #options: SubscribeOptions;
  #topic: Topic;
  #handler: ((event: E) => void) | undefined;
  /** Events are kept for an iterator: there is no handler, or a loop has begun. */
  #buffering: boolean;
  #events: E[] = [];
  #waiting: Waiting<E>[] = [];
  /** Why it has ended, if it has. */
  #ended: JugglerError | undefined;
  /** The error, until the iterator has thrown it. */
  #unthrown: JugglerError | undefined;
  /** Whether the application knows that it is refused. */
  #told = false;
  #unwatch: (() => void) | undefined;
  #whenReady = new Set<(error?: JugglerError) => void>();

  /** `wrong`: why it cannot be asked for. */
  constructor(topic: Topic, options: SubscribeOptions, handler: ((event: E) => void) | undefined, wrong?: JugglerError) {
    bind(this);
    this.channel = topic.channel;
    this.pattern = topic.pattern;
    this.#options = options;
    this.#topic = topic;
    this.#handler = handler;
    this.#buffering = !handler;
    const { signal } = options;
    if (wrong) this.end(wrong);
    else if (signal?.aborted) this.unsubscribe();
    else {
      this.#unwatch = signal && onAbort(signal, this.unsubscribe);
      topic.add(this);
      if (topic.on) void Promise.resolve().then(() => this.#ended || this.settle());
      if (topic.owner.stopped) this.rest(topic.owner.stopped);
    }
  }

  get ready(): Promise<void> {
    const ready = new Promise<void>((resolve, reject) => {
      if (this.#ended) return reject(this.#ended);
      const { owner } = this.#topic;
      if (this.#topic.on) return resolve();
      const { refusal } = this.#topic;
      if (owner.stopped) return reject(owner.stopped);
      if (refusal && !refusal.retryable) return reject(refusal);
      const settle = (error?: JugglerError): void => {
        clearTimeout(timer);
        if (error) reject(error);
        else resolve();
      };
      const timer = setTimeout(() => {
        this.#whenReady.delete(settle);
        const message = `${this.channel}: not confirmed within ${owner.timeout} ms`;
        reject(new JugglerError(408, message, 'unknown', { cause: owner.trouble ?? this.#topic.refusal }));
      }, owner.timeout);
      this.#whenReady.add(settle);
    });
    bind(ready); // It is read as a property, so a Proxy wraps it.
    ready.catch(() => {}); // Whoever only looks at it need not mind.
    return ready;
  }

  unsubscribe(): void {
    this.#end(undefined);
  }

  next(): Promise<IteratorResult<E>> {
    if (this.#events.length) return Promise.resolve({ value: this.#events.shift()!, done: false });
    const { refusal } = this.#topic;
    if (refusal && !this.#handler) this.#end(refusal);
    const error = this.#unthrown;
    this.#unthrown = undefined;
    if (this.#ended || this.#topic.owner.stopped) {
      return error ? Promise.reject(error) : Promise.resolve({ value: undefined, done: true });
    }
    this.#buffering = true;
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<E>> {
    this.#events = [];
    this.unsubscribe();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  [Symbol.dispose](): void {
    this.unsubscribe();
  }

  /** An event for this subscription. */
  push(event: E): void {
    if (this.#buffering) this.#buffer(event);
    this.#tell(() => this.#handler?.(event));
  }

  /** Events may have been missed. */
  gap(gap: Gap): void {
    this.#tell(() => this.#options.onGap?.(gap));
  }

  /** Confirmed, or not to be confirmed for now. */
  settle(error?: JugglerError): void {
    this.#told = false;
    for (const settle of this.#whenReady) settle(error);
    this.#whenReady.clear();
    if (!error) this.#tell(() => this.#options.onReady?.());
  }

  /** The client has stopped: nothing comes until `connect()`. */
  rest(reason: JugglerError): void {
    const error = reason.code === 1000 ? undefined : reason;
    if (!this.#handler) return this.#end(error);
    // A handler can wait for the client to be connected again, a loop would hang.
    this.settle(reason);
    this.#endLoop(error);
    this.#buffering = false;
  }

  /** Refused, and to be asked for again. A loop would hang meanwhile. */
  refused(error: JugglerError): void {
    if (!this.#handler && (this.#waiting.length || !error.retryable)) return this.end(error);
    const told = this.#told;
    if (!error.retryable) this.settle(error);
    this.#told = true;
    if (!told) this.#tell(() => this.#options.onError?.(error));
  }

  /** It cannot be asked for, or has overflown. */
  end(error: JugglerError): void {
    this.#end(error);
    this.#tell(() => this.#options.onError?.(error));
  }

  #tell(code: () => unknown): void {
    this.#topic.owner.run(`a handler of ${this.channel}`, code);
  }

  #buffer(event: E): void {
    const waiting = this.#waiting.shift();
    if (waiting) return waiting.resolve({ value: event, done: false });
    const limit = this.#options.buffer ?? 1_024;
    if (this.#events.length < limit) this.#events.push(event);
    else this.end(new JugglerError(4500, `${this.channel}: more than ${limit} events wait for the iterator`, 'unknown'));
  }

  #end(error: JugglerError | undefined): void {
    if (this.#ended) return;
    const reason = (this.#ended = error ?? new JugglerError(1000, `${this.channel}: unsubscribed`, 'refused'));
    this.#unwatch?.();
    this.#topic.remove(this);
    this.settle(reason);
    this.#endLoop(error);
  }

  #endLoop(error: JugglerError | undefined): void {
    if (!this.#waiting.length) this.#unthrown = error;
    for (const { resolve, reject } of this.#waiting.splice(0)) {
      if (error) reject(error);
      else resolve({ value: undefined, done: true });
    }
  }
}
