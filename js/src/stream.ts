// Answers in parts: an import of its own.
import type { CoreClient, Stream } from './api.js';
import { bind } from './bind.js';
import { JugglerError } from './error.js';
import { shown } from './guard.js';
import type { Link, ServerMessage } from './link.js';
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
 * lost connection ends it with the outcome `unknown`, `idempotent` or not;
 * {@link withKey} makes it go on.
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
  const { parts = 128, signal, _Request = StreamRequest } = (options ?? {}) as Options;
  // What is thrown here rejects the answer.
  const call = async (_parts: Parts): Promise<unknown> => {
    if (!(Number.isInteger(parts) && parts > 0 && parts <= 1e6)) {
      throw new JugglerError(400, `options.parts: want 1 to 1,000,000, not ${shown(parts)}`, 'refused');
    }
    return (client.call as Call)(uri, args, { ...options, _parts, _Request });
  };
  return new Parts(call, parts, signal) as Stream<any, any>;
}

type Call = (uri: string, args: unknown, options: object) => Promise<unknown>;

interface Options extends StreamOptions {
  readonly _Request?: typeof Request;
  readonly _parts: Parts;
}

/** A call that takes parts. */
class StreamRequest extends Request {
  private _parts = (this._options as Options)._parts;

  constructor(...all: ConstructorParameters<typeof Request>) {
    super(...all);
    this._parts._request = this;
  }

  override _sendOn(link: Link): boolean {
    return super._sendOn(link, this._fields + this._parts._ask());
  }

  _hear(message: ServerMessage): void {
    this._parts._hear(message);
    if (!this._parts._came) return;
    // From here on it is not sent again, whatever the server says.
    this._wait = false;
    this._maybeSent = true;
  }

  override _lost(error: JugglerError): void {
    const { _came: came } = this._parts;
    if (!came) return super._lost(error);
    const details = { cause: error, retryable: this._idempotent };
    this._refuse(error.code, `outcome unknown: ${error.message}; parts that came: ${came}`, details);
  }
}

const done: IteratorResult<never> = { value: undefined, done: true };

/** What the application sees: the parts that nobody has taken yet, and who waits for the next. */
export class Parts implements Stream {
  _request: Request | undefined;
  /** The number of the last part that has come. */
  _came = 0;

  #result: Promise<unknown>;
  #signal: AbortSignal | undefined;
  #window: number;
  /** How many more were asked for. */
  #due = 0;
  /** How many were used since it last asked. */
  #usedUp = 0;
  #kept: unknown[] = [];
  #waiting: ((part: IteratorResult<unknown> | Promise<never>) => void)[] = [];
  /** What becomes of the parts: they are dropped, or taken one by one, maybe in a loop. */
  #use: 'drop' | 'take' | 'loop' | undefined;
  /** How the iteration ends once no part is left. */
  #end: IteratorResult<never> | Promise<never> | undefined;

  constructor(call: (parts: Parts) => Promise<unknown>, window: number, signal: AbortSignal | undefined) {
    bind(this, 'next', 'return', Symbol.asyncIterator, /* @__KEY__ */ '_getResult');
    this.#window = window;
    this.#signal = signal;
    const result = (this.#result = call(this));
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
      if ((this.#use ??= 'drop') === 'drop') this.#kept.splice(0).forEach(() => this.#taken());
    });
    return this.#result;
  }

  async next(): Promise<IteratorResult<unknown>> {
    if ((this.#use ??= 'take') === 'drop') throw misuse('its result was asked for before its parts, which are dropped');
    const signal = this.#signal;
    // Of what had come before the end, too, nothing is wanted any more.
    if (signal?.aborted && this.#kept.splice(0).length) this.#end = Promise.reject(abortReason(signal));
    if (this.#kept.length) {
      this.#taken();
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
    this._quit(499, 'its parts are not wanted');
    return done;
  }

  [Symbol.asyncIterator](): this {
    if (this.#use === 'loop') throw misuse('another loop takes its parts, or did');
    if (this.#use !== 'drop') this.#use = 'loop';
    return this;
  }

  /** The field by which a call asks for parts on a link: for as many as there is room for. */
  _ask(): string {
    this.#usedUp = 0;
    this.#due = Math.max(1, this.#window - this.#kept.length);
    return `,"parts":${this.#due}`;
  }

  /** The server has sent something about the call. */
  _hear({ type, n, args }: ServerMessage): void {
    if (type !== 'PART') return;
    if (n !== this._came + 1 || !this.#due) {
      return this._quit(1002, `the server sent part ${shown(n)} after ${this._came}`);
    }
    this._came++;
    this.#due--;
    const take = this.#waiting.shift();
    if (take || this.#use === 'drop') this.#taken();
    if (take) take({ value: args, done: false });
    else if (this.#use !== 'drop') this.#kept.push(args);
  }

  /** Gives the call up, here and at the server. */
  _quit(code: number, message: string): void {
    const request = this._request;
    if (!request || request._settled) return;
    request._cancel();
    request._refuse(code, message);
  }

  /** Somebody has taken a part. */
  #taken(): void {
    const link = this._request!._link;
    // Once at the half: more may be used while the server's rates do not allow to ask.
    if (++this.#usedUp !== Math.ceil(this.#window / 2) || !link) return;
    const wait = link._spend('more');
    if (wait > 0) new Timer()._set(wait, () => this.#more());
    else this.#more();
  }

  #more(): void {
    const { _link: link, _id } = this._request!;
    // Not if it waited for the rates of a link before this one.
    if (this.#usedUp) link?._send(`{"type":"MORE","for":"${_id}","parts":${this.#usedUp}}`);
    this.#due += this.#usedUp;
    this.#usedUp = 0;
  }

  #finish(end: IteratorResult<never> | Promise<never>): void {
    if (this.#end) return;
    this.#end = this.#waiting.length ? done : end;
    this.#waiting.splice(0).forEach((resolve) => resolve(end));
  }
}

const misuse = (what: string): JugglerError => new JugglerError(400, `stream: ${what}`, 'refused');
