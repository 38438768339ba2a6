import { JugglerError, isViolation, type ErrorDetails } from './error.js';
import { abortReason, onAbort } from './signal.js';
import { now } from './time.js';
import { delay, type Exchange, type Link, type ServerMessage } from './link.js';
import type { RequestOptions } from './types.js';

/** Where requests wait for a link, and are sent. */
export interface Dispatcher {
  /** Why there is no link, if one was tried. */
  readonly trouble: JugglerError | undefined;
  /** Sends the request, or keeps it until a link can take it. */
  dispatch(request: Request): void;
  /** The server has put the request off: it is kept, and may be sent once it does not rest any more. */
  putOff(request: Request): void;
  /** There may be something to send. */
  flush(): void;
  /** The server has taken a publication. */
  taken(request: Request): void;
  /** The request is over: it is kept no longer. */
  release(request: Request): void;
}

let turns = 0;

/**
 * One call or publication of the application, from its start to the settling
 * of its promise, over as many links as it takes.
 */
export class Request implements Exchange {
  readonly idempotent: boolean;
  /** Whether it may wait for a link. */
  readonly wait: boolean;
  id = '';
  /** The link that it was sent on, while an answer is awaited. */
  link: Link | undefined;
  /** Its place among all requests. */
  readonly turn = ++turns;
  /** The server asked not to send it again yet. */
  resting = false;

  #dispatcher: Dispatcher;
  #deadline: number;
  settled = false;
  /** Sent once, and lost with its link: whatever comes, it may have been done. */
  #doubt = false;
  /** Why it rests, or has. */
  #denial: JugglerError | undefined;
  #timer: ReturnType<typeof setTimeout>;
  #pause: ReturnType<typeof setTimeout> | undefined;
  #unwatch: (() => void) | undefined;
  #resolve: (result: unknown) => void;
  #reject: (reason: unknown) => void;

  constructor(
    readonly type: 'CALL' | 'PUB',
    readonly fields: string,
    options: RequestOptions,
    timeout: number,
    dispatcher: Dispatcher,
    resolve: (result: unknown) => void,
    reject: (reason: unknown) => void,
  ) {
    this.idempotent = options.idempotent ?? false;
    this.wait = options.wait ?? true;
    this.#dispatcher = dispatcher;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#deadline = now() + timeout;
    this.#timer = setTimeout(() => {
      const { link } = this;
      if (this.type === 'CALL') link?.cancel(this);
      if (link) this.#doubt = true;
      this.refuse(408, `no ${link ? 'answer' : 'connection'} within ${timeout} ms`, {
        retryable: !this.#doubt || this.idempotent,
        cause: dispatcher.trouble,
      });
    }, delay(timeout));
    const { signal } = options;
    this.#unwatch = signal && onAbort(signal, () => this.#abort(abortReason(signal)));
  }

  /** Sends it on the link; false: the link could not. */
  sendOn(link: Link): boolean {
    const left = Math.max(1, Math.ceil(this.#deadline - now()));
    if (this.type === 'CALL' && left > link.maxTimeout) {
      this.refuse(400, `timeout: the server allows ${link.maxTimeout} ms`, {});
      return true;
    }
    // Set before, as the link may settle it at once.
    this.link = link;
    const sent = link.request(this, this.type === 'CALL' ? `${this.fields},"timeout":${left}` : this.fields);
    if (!sent) this.link = undefined;
    return sent;
  }

  settle(error: JugglerError | undefined, answer: ServerMessage): void {
    if (this.settled) return;
    const after = error?.outcome === 'refused' ? error.retryAfter : undefined;
    if (this.wait && after !== undefined && now() + after < this.#deadline) {
      this.link = undefined;
      this.resting = true;
      this.#denial = error;
      this.#pause = setTimeout(() => {
        this.resting = false;
        this.#dispatcher.flush();
      }, after);
      return this.#dispatcher.putOff(this);
    }
    if (error?.outcome === 'refused') return this.refuse(error.code, error.message, error);
    this.#end();
    if (error) this.#reject(error);
    else {
      this.#resolve(answer.args);
      if (this.type === 'PUB') this.#dispatcher.taken(this);
    }
  }

  /** A later one was taken before it could be sent again. */
  overtaken(): void {
    const { code, message } = this.#denial!;
    this.refuse(code, `${message}; a later publication was taken`, this.#denial!);
  }

  lost(error: JugglerError): void {
    if (this.settled) return;
    this.link = undefined;
    // It may be the one that the server did not like.
    const again = this.idempotent && !(this.#doubt && isViolation(error.code));
    this.#doubt = true;
    if (again) this.#dispatcher.dispatch(this);
    else this.refuse(error.code, `outcome unknown: ${error.message}`, { cause: error });
  }

  /** Rejects it, with what is known about it by now. */
  refuse(code: number, message: string, details: ErrorDetails): void {
    this.#end();
    this.#reject(new JugglerError(code, message, this.#doubt ? 'unknown' : 'refused', details));
  }

  #abort(reason: unknown): void {
    if (this.type === 'CALL') this.link?.cancel(this);
    this.#end();
    this.#reject(reason);
  }

  #end(): void {
    this.settled = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#pause);
    this.#unwatch?.();
    this.link = undefined;
    this.#dispatcher.release(this);
  }
}
