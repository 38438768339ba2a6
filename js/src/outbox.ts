import { PUBLICATIONS } from './constants.js';
import type { JugglerError } from './error.js';
import type { Link } from './link.js';
import type { Request } from './request.js';
import type { ClientOptions, State } from './types.js';

/** What an outbox needs of its client. */
export interface OutboxHost {
  readonly _settings: ClientOptions;
  /** The link that requests are sent on, if there is one. */
  readonly _link: Link | undefined;
  /** Why the client does not connect, if so. */
  readonly _stopped: JugglerError | undefined;
  /** Why there is no link, if one was tried. */
  readonly _lastError: JugglerError | undefined;
  /** Who listens to what happens to the client. */
  readonly _listeners: { state?: Set<(state: State) => void> };
  /** Runs code of the application. */
  _run(what: string, code: () => unknown): void;
  /** Something wants a connection. */
  _want(): void;
}

/**
 * What waits to be sent: for a link, for room, for a server that said when to
 * try again. Publications keep their order, whatever the server makes of each:
 * none is sent while an earlier one waits, or is unanswered on another link.
 */
export class Outbox {
  /** Both in the order in which the application made them. */
  private _calls: Request[] = [];
  private _publications: Request[] = [];
  /** Publications that are sent and not answered. */
  private _sent: Request[] = [];
  /** The server delays one: they are sent one by one until none waits, as it may delay any. */
  private _oneByOne: boolean | undefined;
  private _whenDrained: (() => void)[] = [];
  /** The length of what waits. */
  _size = 0;

  constructor(readonly _host: OutboxHost) {}

  /** Sends a request, or keeps it until a link can take it. */
  _dispatch(request: Request): void {
    const { _stopped: stopped, _lastError: cause, _settings } = this._host;
    const { queueLimit = 10_000, queueSize = 16 << 20 } = _settings;
    if (stopped) return request._refuse(stopped.code, `not connected: ${stopped.message}`, { cause: stopped });
    this._add(request);
    this._flush();
    if (request._link || request._settled) return;
    if (!request._wait && !this._host._link?._usable) {
      request._refuse(503, 'not connected', { retryable: true, cause });
    } else if (this._length > queueLimit || this._size > queueSize) {
      request._refuse(429, 'too many requests wait', { retryable: true });
    }
    this._host._want();
  }

  get _length(): number {
    return this._calls.length + this._publications.length;
  }

  get _all(): Request[] {
    return [...this._calls, ...this._publications];
  }

  /** Keeps a request until it is sent. It may have been sent before. */
  _add(request: Request): void {
    remove(this._sent, request);
    const list = this._listOf(request);
    if (list !== this._calls) this._oneByOne ||= request._delayed;
    let at = list.length;
    while (at && list[at - 1]!._order > request._order) at--;
    list.splice(at, 0, request);
    this._size += request._fields.length;
  }

  /** The server has taken a publication: earlier ones that it delays can no longer come before it. */
  _accepted(request: Request): void {
    for (const earlier of [...this._publications]) if (earlier._order < request._order) earlier._overtaken();
  }

  /** A request waits no longer, for an answer neither. */
  _remove(request: Request): void {
    remove(this._sent, request);
    this._take(request);
    this._flush();
  }

  private _take(request: Request): void {
    if (remove(this._listOf(request), request)) this._size -= request._fields.length;
  }

  /** Sends what can be sent. */
  _flush(): void {
    const { _link: link } = this._host;
    for (let next; this._length && link?._usable && (next = this._next(link)); ) {
      if (!next._isDue(link)) continue;
      this._take(next);
      if (next._type === 'PUB') this._sent.push(next);
      if (!next._sendOn(link)) return this._add(next);
    }
    this._oneByOne &&= !!(this._publications.length || this._sent.length);
    if (!this._length) this._whenDrained.splice(0).forEach((resolve) => resolve());
  }

  /** Resolves once nothing waits. */
  _drained(): Promise<void> {
    return new Promise((resolve) => (this._length ? this._whenDrained.push(resolve) : resolve()));
  }

  private _next(link: Link): Request | undefined {
    const waits = ({ _delayed, _paced = link }: Request): boolean | undefined => _delayed && _paced === link;
    const call = link._calls < link._limit('calls') ? this._calls.find((request) => !waits(request)) : undefined;
    const publication = this._publications[0];
    const sent = this._sent[0];
    const blocked = (publication && waits(publication)) || this._sent.length >= PUBLICATIONS || (sent && (this._oneByOne || sent._link !== link));
    const next = blocked || (call && !(publication && publication._order < call._order)) ? call : publication;
    return next && link._hasRoom(next._fields.length) ? next : undefined;
  }

  private _listOf(request: Request): Request[] {
    return request._type === 'CALL' ? this._calls : this._publications;
  }
}

/** Takes a request out of a list, and returns whether it was there. */
const remove = (list: Request[], request: Request): boolean => {
  const at = list.indexOf(request);
  return at >= 0 && !!list.splice(at, 1);
};
