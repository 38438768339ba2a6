import { JugglerError, isViolation, type ErrorDetails } from './error.js';
import { abortReason, onAbort } from './signal.js';
import { Timer, now } from './time.js';
import type { Exchange, Link, ServerMessage } from './link.js';
import type { Outbox } from './outbox.js';
import type { PublishOptions } from './types.js';

let made = 0;

/**
 * One call or publication of the application, from its start to the settling
 * of its promise, over as many links as it takes.
 */
export class Request implements Exchange {
  readonly _idempotent: boolean;
  /** Whether it may wait for a link. */
  _wait: boolean;
  /** The link that it was sent on, while an answer is awaited. */
  _link: Link | undefined;
  /** Its place among all requests. */
  readonly _order = ++made;
  /** Not to be sent yet: on the link whose rates it waits for, if it does, or on any, as the server said. */
  _delayed: boolean | undefined;
  /** The link whose rates it has waited for, or waits for. */
  _paced: Link | undefined;
  _settled: boolean | undefined;
  _id?: string | undefined;

  /** Sent once, and lost with its link: whatever comes, it may have been done. */
  _maybeSent: boolean | undefined;
  /** Why it is delayed, or was. */
  private _refusal: JugglerError | undefined;
  private _deadline: number;
  private _timer: Timer;
  private _pause: Timer | undefined;
  private _unwatch: (() => void) | undefined;

  constructor(
    readonly _type: 'CALL' | 'PUB',
    readonly _fields: string,
    readonly _options: PublishOptions,
    readonly _timeout: number,
    readonly _outbox: Outbox,
    private readonly _resolve: (result: unknown) => void,
    private readonly _reject: (reason: unknown) => void,
  ) {
    const { idempotent, wait, signal } = _options;
    this._idempotent = !!idempotent;
    this._wait = wait !== false;
    this._deadline = now() + _timeout;
    this._timer = new Timer()._set(_timeout, () => {
      const link = this._cancel();
      this._refuse(408, `no ${link ? 'answer' : 'connection'} within ${_timeout} ms`, {
        retryable: !this._maybeSent || this._idempotent,
        cause: _outbox._host._lastError,
      });
    });
    this._unwatch =
      signal &&
      onAbort(signal, () => {
        this._cancel();
        this._end();
        this._reject(abortReason(signal));
      });
  }

  /** Sends it on the link, with these fields; false: the link could not. */
  _sendOn(link: Link, fields = this._fields): boolean {
    if (this._type === 'CALL') {
      const left = Math.max(1, Math.ceil(this._deadline - now()));
      const most = link._limit('timeout');
      if (left > most) {
        this._refuse(400, `timeout: the server allows ${most} ms`);
        return true;
      }
      fields += `,"timeout":${left}`;
    }
    // Set before, as the link may settle it at once.
    this._link = link;
    const sent = link._request(this, fields);
    if (!sent) this._link = undefined;
    return sent;
  }

  _settle(error: JugglerError | undefined, answer: ServerMessage): void {
    if (error?.outcome === 'refused') return this._refused(error);
    this._end();
    if (error) return this._reject(error);
    this._resolve(answer.args);
    if (this._type === 'PUB') this._outbox._accepted(this);
  }

  /** The server has certainly not taken it: it may be sent again, if there is time. */
  private _refused(error: JugglerError): void {
    const { retryAfter } = error;
    if (!this._wait || retryAfter === undefined || now() + retryAfter >= this._deadline) {
      return this._refuse(error.code, error.message, error);
    }
    this._link = this._paced = undefined;
    this._refusal = error;
    this._delay(retryAfter);
    this._outbox._add(this);
  }

  /** It is not to be sent for so many ms. */
  private _delay(ms: number): void {
    this._delayed = true;
    (this._pause ??= new Timer())._set(ms, () => {
      this._delayed = false;
      this._outbox._flush();
    });
  }

  /** Whether it may be sent on a link now. If not, it will be in time. */
  _isDue(link: Link): boolean {
    if (this._paced !== link) {
      this._paced = link;
      this._delayed = false;
      const wait = link._spend(this._type === 'CALL' ? 'calls' : 'publications', this._fields);
      if (wait > 0) this._delay(wait);
    }
    return !this._delayed;
  }

  /** A later one was taken before it could be sent again. */
  _overtaken(): void {
    const refusal = this._refusal!;
    this._refuse(refusal.code, `${refusal.message}; a later one was taken`, refusal);
  }

  /** `repeatable`: doing it twice is the same as doing it once. */
  _lost(error: JugglerError, repeatable: unknown = this._idempotent): void {
    this._link = undefined;
    // It may be the one that the server did not like.
    const again = repeatable && !(this._maybeSent && isViolation(error.code));
    this._maybeSent = true;
    if (again) this._outbox._dispatch(this);
    else this._refuse(error.code, `outcome unknown: ${error.message}`, { cause: error });
  }

  /** Rejects it, with what is known about it by now. */
  _refuse(code: number, message: string, details?: ErrorDetails): void {
    this._end();
    this._reject(new JugglerError(code, message, this._maybeSent ? 'unknown' : 'refused', details));
  }

  /** Nobody waits for the answer any more. Returns the link that would bring it. */
  _cancel(): Link | undefined {
    this._maybeSent ||= !!this._link;
    this._link?._drop(this);
    return this._link;
  }

  protected _end(): void {
    this._settled = true;
    this._timer._clear();
    this._pause?._clear();
    this._unwatch?.();
    this._link = undefined;
    this._outbox._remove(this);
  }
}
