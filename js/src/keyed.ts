// Calls whose outcome the server keeps under a key: an import of its own.
import { isText } from './check.js';
import { JugglerError } from './error.js';
import { shown } from './guard.js';
import { byteLength, fieldsOf, type Link, type ServerMessage } from './link.js';
import { Request } from './request.js';
import { onAbort } from './signal.js';
import type { Parts } from './stream.js';
import type { Attached, KeyedOptions, StreamOptions } from './types.js';

/**
 * Options of a call, or of a stream, that outlives the connection: the server
 * keeps its outcome under the key, and gives it to whoever of the same user
 * calls the URI with it, on any connection. The application makes the key, once
 * for what it wants to be done, and stores it with that: who makes another one
 * for each try does it twice.
 *
 * ```ts
 * await client.call('order.pay', order, withKey(order.id, { timeout: 60_000 }));
 * ```
 *
 * After a lost connection, and where a server is replaced, the client joins the
 * call again by itself. A stream goes on behind the last part that came. To
 * abort the signal, to leave the loop, or to have no time left ends nothing but
 * this client's part in it.
 */
export function withKey(key: string, options?: KeyedOptions): StreamOptions {
  // Who repeats it joins it.
  return { ...options, idempotent: true, _key: key, _Request: KeyedCall } as StreamOptions;
}

interface Options extends KeyedOptions {
  readonly _key: string;
  readonly _parts?: Parts;
}

/** A call with a key: it is made, or joined, on one link after another until it has its outcome. */
class KeyedCall extends Request {
  /** Whether the present link has acknowledged it. */
  _acked?: boolean;
  /** Whether any has: it is made, and may only be joined. */
  private _attached: boolean | undefined;
  private _keyed: Options;
  private _unlisten: () => void;

  constructor(...[type, fields, options, ...rest]: ConstructorParameters<typeof Request>) {
    const keyed = options as Options;
    checkKeyed(type, keyed);
    const { _key: key, since, stop, _parts: parts } = keyed;
    if (stop?.aborted && since === undefined) throw new JugglerError(499, 'stopped', 'refused');
    super(type, fields + fieldsOf({ key }), options, ...rest);
    this._keyed = keyed;
    if (parts) {
      parts._request = this;
      parts._came = since ?? 0;
    }
    const move = (): void => this._move();
    const listeners = (this._outbox._host._listeners.state ??= new Set());
    listeners.add(move);
    const unwatch = stop && onAbort(stop, () => this._stop());
    this._unlisten = () => {
      listeners.delete(move);
      unwatch?.();
    };
  }

  override _sendOn(link: Link): boolean {
    const { since, _parts: parts } = this._keyed;
    if (!link._grant['keyed']) {
      this._refuse(400, 'a call with a key: the server keeps none, or not for this session');
      return true;
    }
    let fields = this._fields + (parts?._ask() ?? '');
    if (this._attached || since !== undefined) fields += fieldsOf({ since: parts?._came ?? 0 });
    return super._sendOn(link, fields);
  }

  _hear(message: ServerMessage): void {
    const { stop, onAttach, _parts: parts } = this._keyed;
    if (message.type !== 'ACK') return parts?._hear(message);
    const { state, from } = message as unknown as Attached;
    if (parts && from !== undefined) {
      const next = parts._came + 1;
      if (!(Number.isInteger(from) && from >= next)) return parts._quit(1002, `the server goes on with part ${shown(from)}, not ${next}`);
      // In a stream there is no hole; who joins it anew may do without them.
      if (this._attached && from > next) return parts._quit(429, `parts ${next} to ${from - 1} are not kept any more`);
      parts._came = from - 1;
    }
    this._attached = true;
    if (onAttach) this._outbox._host._run('onAttach', () => onAttach({ state, from }));
    if (stop?.aborted) this._stop();
  }

  override _settle(error: JugglerError | undefined, answer: ServerMessage): void {
    // What ended so stays so: repeating it does not help.
    if (error && [500, 502].includes(error.code)) error = new JugglerError(error.code, error.message, error.outcome, { ...error, retryable: false });
    super._settle(error, answer);
  }

  override _lost(error: JugglerError): void {
    // It is not what the server did not like, then.
    if (this._acked) this._maybeSent = false;
    super._lost(error);
  }

  /** The client has another link: goes on there, as a node that stops does not wait for calls with keys. */
  private _move(): void {
    const { _link: next } = this._outbox._host;
    if (!this._link || !next?._grant['keyed'] || this._link === next) return;
    this._cancel();
    this._link = undefined;
    this._outbox._dispatch(this);
  }

  /** Ends the call for all, once the server knows it. */
  private _stop(): void {
    if (this._link && this._acked) this._link._send(`{"type":"CANCEL","for":"${this._id}","stop":true}`);
    else if (!this._link && !this._maybeSent && this._keyed.since === undefined) this._refuse(499, 'stopped');
  }

  protected override _end(): void {
    this._unlisten();
    super._end();
  }
}

/** Throws where the application has made a mistake. */
function checkKeyed(type: string, { _key: key, since = 0, stop, onAttach }: Options): void {
  const check = (what: string, value: unknown, isRight: unknown, wanted: string): void => {
    if (!isRight) throw new JugglerError(400, `${what}: want ${wanted}, not ${shown(value)}`, 'refused');
  };
  check('withKey', type, type === 'CALL', 'a call');
  check('key', key, isText(key) && byteLength(key) <= 64, '1 to 64 bytes of text');
  check('options.since', since, Number.isInteger(since) && since >= 0 && since < 2 ** 31, 'a whole number, 0 or more');
  check('options.stop', stop, !stop || typeof stop.addEventListener === 'function', 'an AbortSignal');
  check('options.onAttach', onAttach, !onAttach || typeof onAttach === 'function', 'a function');
}
