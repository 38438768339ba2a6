// Answers in parts: an import of its own.
import type { CoreClient, Stream } from './api.js';
import { bind } from './bind.js';
import { JugglerError } from './error.js';
import { shown } from './guard.js';
import type { ServerMessage } from './link.js';
import { Request } from './request.js';
import { abortReason } from './signal.js';
import { Timer } from './time.js';
import type { CallParameters, Contract, Part, Result, StreamOptions, Uri } from './types.js';

/**
 * Calls a URI whose answer comes in parts, in order and without holes, at the
 * pace of who takes them. It begins at once. The `timeout` is that of the whole
 * answer. A callee, or a server, that knows no parts answers with the result
 * alone.
 *
 * It is sent again as a call is, until the first part has come. After that a
 * lost connection ends it with the outcome `unknown`, `idempotent` or not.
 *
 * ```ts
 * const answer = stream(client, 'ai.answer', 'Why?', { timeout: 120_000 });
 * for await (const word of answer) show(word); // leaving the loop cancels
 * const { words } = await answer.result;
 * ```
 */
export function stream<C extends Contract, U extends Uri<C>>(
  client: CoreClient<C>,
  uri: U,
  ...[args, options]: CallParameters<C, U, StreamOptions>
): Stream<Part<C, U>, Result<C, U>> {
  return new Parts((more) => (client.call as Call)(uri, args, { ...options, ...more }), options?.signal) as Stream<any, any>;
}

type Call = (uri: string, args: unknown, options: object) => Promise<unknown>;

interface Options extends StreamOptions {
  readonly _parts: Parts;
}

/** A call that takes parts, and asks for more of them. */
class StreamRequest extends Request {
  private _window: number;
  /** How many have come, and how many were asked for. */
  private _came = 0;
  private _due: number;
  /** How many were used since it last asked. */
  private _usedUp = 0;
  /** It is about to ask, once the server's rates allow it. */
  private _asking: boolean | undefined;
  private _parts: Parts;

  constructor(...[type, fields, options, ...rest]: ConstructorParameters<typeof Request>) {
    const { parts = 32, _parts: taker } = options as Options;
    if (!(Number.isInteger(parts) && parts > 0 && parts <= 1e6)) {
      throw new JugglerError(400, `options.parts: want a whole number from 1 to 1,000,000, not ${shown(parts)}`, 'refused');
    }
    super(type, `${fields},"parts":${parts}`, options, ...rest);
    this._window = this._due = parts;
    this._parts = taker;
    taker._request = this;
  }

  _hear({ type, n, args }: ServerMessage): void {
    if (this._settled || type !== 'PART') return;
    if (n !== this._came + 1 || n > this._due) {
      return this._quit(1002, `the server sent a part that is not due, after ${this._came}`);
    }
    this._came++;
    // From here on it is not sent again, whatever the server says.
    this._wait = false;
    this._maybeSent = true;
    this._parts._bring(args);
  }

  /** Somebody has taken a part. */
  _taken(): void {
    this._usedUp++;
    if (this._asking || this._usedUp < this._window / 2 || !this._link) return;
    this._asking = true;
    const wait = this._link._spend('more');
    if (wait > 0) new Timer()._set(wait, () => this._more());
    else this._more();
  }

  private _more(): void {
    this._asking = false;
    this._due += this._usedUp;
    this._link?._send(`{"type":"MORE","for":"${this._id}","parts":${this._usedUp}}`);
    this._usedUp = 0;
  }

  /** Gives the call up, here and at the server. */
  _quit(code: number, message: string): void {
    if (this._settled) return;
    if (this._cancel()) this._maybeSent = true;
    this._refuse(code, message);
  }

  override _lost(error: JugglerError): void {
    if (!this._came) super._lost(error);
    else if (!this._settled) {
      const details = { cause: error, retryable: this._idempotent };
      this._refuse(error.code, `outcome unknown: ${error.message}; parts that came: ${this._came}`, details);
    }
  }
}

const done: IteratorResult<never> = { value: undefined, done: true };

/** What the application sees: the parts that nobody has taken yet, and who waits for the next. */
class Parts implements Stream {
  _request: StreamRequest | undefined;

  #result: Promise<unknown>;
  #signal: AbortSignal | undefined;
  #kept: unknown[] = [];
  #waiting: ((part: IteratorResult<unknown> | Promise<never>) => void)[] = [];
  /** What becomes of the parts: they are dropped, or taken one by one, maybe in a loop. */
  #use: 'drop' | 'take' | 'loop' | undefined;
  /** How the iteration ends once no part is left. */
  #end: IteratorResult<never> | Promise<never> | undefined;

  constructor(call: (options: object) => Promise<unknown>, signal: AbortSignal | undefined) {
    bind(this, 'next', 'return', Symbol.asyncIterator, /* @__KEY__ */ '_getResult');
    this.#signal = signal;
    const result = (this.#result = call({ _Request: StreamRequest, _parts: this }));
    bind(result, 'then', 'catch', 'finally'); // It is read as a property, so a Proxy wraps it.
    result.then(
      () => this.#finish(done),
      () => this.#finish(result as Promise<never>),
    );
  }

  get result(): Promise<unknown> {
    return this._getResult();
  }

  _getResult(): Promise<unknown> {
    void Promise.resolve().then(() => {
      this.#use ??= 'drop';
      if (this.#use === 'drop') this.#kept.splice(0).forEach(() => this._request!._taken());
    });
    return this.#result;
  }

  async next(): Promise<IteratorResult<unknown>> {
    this.#use ??= 'take';
    if (this.#use === 'drop') throw misuse('its result was asked for before its parts, which are dropped');
    const signal = this.#signal;
    // Of what had come before the end, too, nothing is wanted any more.
    if (signal?.aborted && this.#kept.splice(0).length) this.#end = Promise.reject(abortReason(signal));
    if (this.#kept.length) {
      this._request!._taken();
      return { value: this.#kept.shift(), done: false };
    }
    const end = this.#end;
    if (!end) return new Promise((resolve) => this.#waiting.push(resolve));
    this.#end = done;
    return end;
  }

  async return(): Promise<IteratorResult<unknown>> {
    this.#use ??= 'take';
    this.#kept = [];
    this.#finish(done);
    this.#end = done;
    this._request?._quit(499, 'its parts are not wanted any more');
    return done;
  }

  [Symbol.asyncIterator](): this {
    if (this.#use === 'loop') throw misuse('another loop takes its parts, or did');
    if (this.#use !== 'drop') this.#use = 'loop';
    return this;
  }

  /** The next part has come. */
  _bring(part: unknown): void {
    const take = this.#waiting.shift();
    if (take || this.#use === 'drop') this._request!._taken();
    if (take) take({ value: part, done: false });
    else if (this.#use !== 'drop') this.#kept.push(part);
  }

  #finish(end: IteratorResult<never> | Promise<never>): void {
    if (this.#end) return;
    this.#end = this.#waiting.length ? done : end;
    this.#waiting.splice(0).forEach((resolve) => resolve(end));
  }
}

const misuse = (what: string): JugglerError => new JugglerError(400, `stream: ${what}`, 'refused');
