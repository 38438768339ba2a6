import type { Subscription } from './api.js';
import { JugglerError } from './error.js';
import { bind } from './bind.js';
import { Feed } from './subscription.js';
import { Timer } from './time.js';
import type { Topic } from './topic.js';
import type { JugglerEvent, SubscribeOptions } from './types.js';

interface Waiting<E> {
  resolve(result: IteratorResult<E>): void;
  reject(reason: unknown): void;
}

const done: IteratorResult<never> = { value: undefined, done: true };

/** A subscription whose events can be taken in a loop. */
export class LoopFeed<E = JugglerEvent> extends Feed<E> implements Subscription<E> {
  #topic: Topic;
  #limit: number;
  #whenReady: Set<(error?: JugglerError) => void> | undefined;
  #hasHandler: boolean;
  /** Events are kept for a loop: there is no handler, or a loop has begun. */
  #buffering: boolean;
  #events: E[] = [];
  #waiting: Waiting<E>[] = [];
  /** The error, until the loop has thrown it. */
  #unthrown: JugglerError | undefined;

  constructor(topic: Topic, options: SubscribeOptions, handler?: (event: E) => void) {
    super(topic, options, handler);
    bind(this, 'next', 'return', /* @__KEY__ */ '_getReady');
    this.#topic = topic;
    this.#limit = options.buffer ?? 1_024;
    this.#hasHandler = !!handler;
    this.#buffering = !handler;
  }

  get ready(): Promise<void> {
    return this._getReady();
  }

  _getReady(): Promise<void> {
    const ready = new Promise<void>((resolve, reject) => {
      const { _link: link, _refusal: refusal, _owner: owner } = this.#topic;
      const { timeout } = owner._settings;
      if (this._ended) return reject(this._ended);
      if (link) return resolve();
      if (owner._stopped) return reject(owner._stopped);
      if (refusal && !refusal.retryable) return reject(refusal);
      const whenReady = (this.#whenReady ??= new Set());
      const timer = new Timer()._set(timeout, () => {
        whenReady.delete(settle);
        const message = `${this.channel}: not confirmed within ${timeout} ms`;
        reject(new JugglerError(408, message, 'unknown', { cause: owner._lastError ?? this.#topic._refusal }));
      });
      const settle = (error?: JugglerError): void => {
        timer._clear();
        if (error) reject(error);
        else resolve();
      };
      whenReady.add(settle);
    });
    bind(ready, 'then', 'catch', 'finally'); // It is read as a property, so a Proxy wraps it.
    ready.catch(() => {}); // Whoever only looks at it need not mind.
    return ready;
  }

  async next(): Promise<IteratorResult<E>> {
    if (this.#events.length) return { value: this.#events.shift()!, done: false };
    // A handler can wait until it is asked for again, a loop would hang.
    const { _refusal: refusal } = this.#topic;
    if (refusal && !this.#hasHandler) this._end(refusal);
    const error = this.#unthrown;
    this.#unthrown = undefined;
    if (this._ended ?? this.#topic._owner._stopped) {
      if (error) throw error;
      return done;
    }
    this.#buffering = true;
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
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
    this.#whenReady = undefined;
    super._settle(error);
  }

  override _push(event: E): void {
    const waiting = this.#waiting.shift();
    if (waiting) waiting.resolve({ value: event, done: false });
    else if (this.#buffering && this.#events.push(event) > this.#limit) {
      this.#events.pop();
      this._fail(new JugglerError(4500, `${this.channel}: more than ${this.#limit} events wait for the iterator`, 'unknown'));
    }
    super._push(event);
  }

  /** A loop would hang where a handler can wait for `connect()`. */
  override _suspend(reason: JugglerError): void {
    const error = reason.code === 1000 ? undefined : reason;
    if (!this.#hasHandler) return void this._end(error);
    super._suspend(reason);
    this.#endLoop(error);
    this.#buffering = false;
  }

  override _refused(error: JugglerError): void {
    if (!this.#hasHandler && (this.#waiting.length || !error.retryable)) this._fail(error);
    else super._refused(error);
  }

  override _end(error?: JugglerError): boolean {
    const ends = super._end(error);
    if (ends) this.#endLoop(error);
    return ends;
  }

  #endLoop(error: JugglerError | undefined): void {
    if (!this.#waiting.length) this.#unthrown = error;
    for (const { resolve, reject } of this.#waiting.splice(0)) {
      if (error) reject(error);
      else resolve(done);
    }
  }
}
