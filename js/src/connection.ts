import { HURRY, OVERDUE, STABLE, WOKEN } from './constants.js';
import { watchEnvironment } from './environment.js';
import { JugglerError, isViolation } from './error.js';
import { guard, thrown } from './guard.js';
import { Link, type LinkHost, type ServerMessage } from './link.js';
import { Outbox, type OutboxHost } from './outbox.js';
import type { SignIn } from './signin.js';
import { Timer, now } from './time.js';
import { topicKey, type Subscriber, type Topic } from './topic.js';
import type { ClientEvents, ClientOptions, LogLevel, State } from './types.js';

/** The options of a client, with the defaults of those that are not given. A copy, as theirs is the application's. */
export const settingsOf = (options: ClientOptions) => ({ ...options, timeout: options.timeout ?? 30_000 });

function toConsole(level: LogLevel, message: string, detail: unknown = ''): void {
  if (level === 'warn' || level === 'error') console[level](`juggler: ${message}`, detail);
}

/** What a connection does beyond the core. */
export interface ConnectionExtras {
  _signIn?: ((connection: Connection) => SignIn) | undefined;
}

/**
 * What a client is made of: which link there is, when the next is opened, what
 * waits for one, and what it is subscribed to.
 */
export class Connection implements LinkHost, OutboxHost, Subscriber {
  _state: State = { status: 'closed' };
  readonly _listeners: { [K in keyof ClientEvents]?: Set<(event: ClientEvents[K]) => void> } = {};
  readonly _outbox = new Outbox(this);
  readonly _topics = new Map<string, Topic>();
  readonly _signIn: SignIn | undefined;
  _isBlocked: ((url: string) => Promise<boolean>) | undefined;

  /** The link that requests are sent on. */
  _link: Link | undefined;
  /** Why the client does not connect by itself: it was closed or refused. */
  _stopped: JugglerError | undefined;
  /** Why there is no connection, if one was tried. */
  _lastError: JugglerError | undefined;

  _blocked: boolean | undefined;

  /** The link that is being opened. */
  private _opening: Link | undefined;
  /** Links that the server asked to leave, while they have something to finish. */
  private _leaving = new Set<Link>();
  /** How many tries have failed since the last connection that lasted. */
  private _attempt = 0;
  /** When it was last tried again. */
  private _triedAt = -Infinity;
  /** When the network or the page came back. */
  _wokenAt = -Infinity;
  /** Ends watching the environment. */
  private _unwatch: (() => void) | undefined;
  private _timer = new Timer();
  private _loggerFailed: boolean | undefined;

  constructor(
    readonly _url: string | (() => string | Promise<string>),
    readonly _settings: ReturnType<typeof settingsOf>,
    { _signIn: signIn }: ConnectionExtras,
  ) {
    this._signIn = signIn?.(this);
    this._isBlocked = _settings.isBlocked;
  }

  _connect(): void {
    const stopped = this._stopped;
    this._stopped = undefined;
    if (this._link) return this._link._check();
    if (this._opening) return;
    // At once, but not again and again: it may be a listener that asks, or a network that comes and goes.
    const pause = this._attempt && Math.min(this._maxPause, stopped ? Infinity : HURRY) - (now() - this._triedAt);
    if (pause <= 0) this._open();
    else if (stopped || Date.now() + pause < (this._state as { retryAt: number }).retryAt) this._openIn(pause, stopped ?? this._lastError!);
  }

  _close(): Promise<void> {
    const closed = this._stop(new JugglerError(1000, 'the client was closed'), {});
    return new Promise((resolve) => {
      const timer = new Timer()._set(1_000, resolve);
      void Promise.all(closed).then(() => {
        timer._clear();
        resolve();
      });
    });
  }

  // Topics.

  _forget(topic: Topic): void {
    if (this._topics.get(topic._key) === topic) this._topics.delete(topic._key);
  }

  _roomFreed(link: Link): void {
    if (link === this._link && link._topics === link._limit('subscriptions') - 1) {
      this._topics.forEach((topic) => topic._awaitsRoom && topic._ask());
    }
    this._leaveIfIdle(link);
  }

  _deliver(link: Link, message: ServerMessage): void {
    const { type, channel, pattern, own } = message as { type: string; channel: string; pattern?: string | boolean; own?: unknown };
    const key = topicKey(typeof pattern === 'string' ? pattern : channel, pattern, own);
    const isMade = type === 'SUBS';
    if (isMade || type === 'UNSS') {
      link._made[isMade ? 'set' : 'delete'](key, message);
      this._emit(type as 'gap', message as never); // see onServer
    }
    // After UNSB some may still be on their way.
    this._topics.get(key)?._deliver(link, message);
  }

  // Links.

  /** Something wants a connection. */
  _want(): void {
    const { status, retryAt = Infinity } = this._state as { status: State['status']; retryAt?: number };
    // Overdue is a try whose timer was suspended, or ended with the request of a worker that set it.
    if (!this._stopped && (status === 'closed' || Date.now() > retryAt + OVERDUE)) this._open();
    // One that hangs in its closing handshake says nothing.
    else if (this._link && !this._link._usable) this._link._check();
  }

  private _open(): void {
    this._timer._clear();
    if (this._attempt) this._triedAt = now();
    this._unwatch ??= watchEnvironment(this);
    const link = (this._opening = new Link(this));
    if (this._link) this._topics.forEach((topic) => topic._prepare());
    else this._setState({ status: 'connecting' });
    void link._open();
  }

  /** `error`: why there is no link until then. */
  private _openIn(ms: number, error?: JugglerError): void {
    this._timer._set(ms, () => this._open());
    if (error) this._setState({ status: 'waiting', error, retryAt: Date.now() + ms });
  }

  /** There may be room for what waits, or nothing left to wait for. */
  _exchangeEnded(link: Link): void {
    this._outbox._flush();
    this._leaveIfIdle(link);
  }

  /** A new link takes over. The one before, if there still is one, is left. */
  _linkReady(link: Link): void {
    const old = this._link;
    this._opening = undefined;
    this._link = link;
    this._lastError = undefined;
    this._topics.forEach((topic) => topic._ask());
    this._outbox._flush();
    if (old) this._leaving.add(old);
    const { session = '?', node = '?' } = link._greeting!;
    this._setState({ status: 'open', session: `${session}`, node: `${node}` });
    if (old) this._leaveIfIdle(old);
  }

  _goAway(link: Link, after: number): void {
    this._log('info', `the server asks to move in ${after} ms`);
    if (link === this._link && !this._opening) this._openIn(after);
  }

  private _leaveIfIdle(link: Link): void {
    if (!this._leaving.has(link) || !link._idle) return;
    for (const topic of this._topics.values()) if (topic._link === link) return;
    link._end(new JugglerError(1000, 'moved'));
  }

  _linkEnded(link: Link, error: JugglerError, final: boolean): void {
    if (isViolation(error.code)) this._report(error);
    this._leaving.delete(link);
    this._topics.forEach((topic) => topic._linkEnded(link));
    let woken;
    if (link === this._opening) this._opening = undefined;
    else if (link === this._link) {
      this._link = undefined;
      woken = now() - this._wokenAt < WOKEN;
      if (now() - link._openedAt > STABLE) this._attempt = 0;
    } else return;
    if (this._stopped) return;
    if (final) {
      this._attempt++;
      this._stop(error, { error });
      this._log('error', `refused: ${error.message}`);
      return this._emit('refused', error);
    }
    this._lastError = error;
    if (this._opening) return this._setState({ status: 'connecting' });
    const pause = woken ? 0 : Math.random() * this._maxPause;
    this._attempt++;
    this._log('info', `${error.message}; next try in ${Math.round(pause)} ms`);
    this._openIn(pause, this._link ? undefined : error);
  }

  /** The longest pause before the next try. */
  private get _maxPause(): number {
    const { min = 500, max = 30_000 } = this._settings.backoff ?? {};
    return Math.min(max, min * 2 ** this._attempt);
  }

  /**
   * Ends everything that waits, and does not connect again by itself. The
   * promises tell when the sockets are closed.
   */
  private _stop(reason: JugglerError, state: { error?: JugglerError }): (Promise<void> | undefined)[] {
    this._stopped = reason;
    this._signIn?._forget();
    this._timer._clear();
    this._unwatch?.();
    this._unwatch = undefined;
    const links = [this._link, this._opening, ...this._leaving];
    const closed = links.map((link) => link && new Promise<void>((resolve) => link._end(reason, true, resolve)));
    this._outbox._all.forEach((request) => this._outbox._dispatch(request));
    this._topics.forEach((topic) => topic._each((feed) => feed._suspend(reason)));
    this._setState({ status: 'closed', ...state });
    return closed;
  }

  // What the application is told.

  private _setState(state: State): void {
    this._state = state;
    this._emit('state', state);
  }

  _emit<K extends keyof ClientEvents>(type: K, event: ClientEvents[K]): void {
    // A listener to errors is not told of its own.
    for (const listener of this._listeners[type] ?? []) this._run(`a listener to ${type}`, () => listener(event), type === 'error');
  }

  /** Runs code of the application. What goes wrong there is logged, and told unless `quiet`. */
  _run(what: string, code: () => unknown, quiet?: boolean): void {
    guard(code, (cause) => {
      this._log('error', `${what} threw`, cause);
      if (!quiet) this._emit('error', thrown(what, cause));
    });
  }

  _log(...line: [level: LogLevel, message: string, detail?: unknown]): void {
    guard(
      () => (this._settings.logger ?? toConsole)(...line),
      (cause) => {
        toConsole(...line);
        // Once, as listeners that throw are logged.
        if (!this._loggerFailed) {
          this._loggerFailed = true;
          this._emit('error', thrown('the logger', cause));
        }
      },
    );
  }

  _report(error: JugglerError): void {
    this._log('warn', error.message, error.cause ?? error.data);
    this._emit('error', error);
  }
}
