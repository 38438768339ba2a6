import { DOUBT_WAIT, GIVE_UP, PROBE_WAIT, PROTOCOL, UNANSWERED } from './constants.js';
import { explain } from './explain.js';
import { JugglerError, positive, wireError } from './error.js';
import type { SignIn } from './signin.js';
import { Timer, now } from './time.js';
import type { ClientOptions, LogLevel, WebSocketLike } from './types.js';

/** The messages of the server, as far as JSON.parse can know. Every field may be missing or wrong. */
export interface ServerMessage {
  type?: unknown;
  id?: unknown;
  for?: unknown;
  error?: unknown;
  args?: unknown;
  channel?: unknown;
  session?: unknown;
  node?: unknown;
  limits?: unknown;
  ping?: unknown;
  [field: string]: unknown;
}

/** One request as a link sees it: what to send, and whom to tell the outcome. */
export interface Exchange {
  readonly _type: 'CALL' | 'SUB' | 'UNSB' | 'PUB' | 'AUTH' | 'PING';
  /** The rest of the message's fields; see {@link fieldsOf}. */
  readonly _fields: string;
  readonly _idempotent?: boolean;
  /** Set by the link that sent it: its id there, and whether it was acknowledged. */
  _id?: string | undefined;
  _acked?: boolean;
  /** The ACK of a call, or a message about it between ACK and RES. */
  _hear?(message: ServerMessage): void;
  /** The one outcome of an exchange. Without error, `answer` is the server's last message. */
  _settle?(error: JugglerError | undefined, answer: ServerMessage): void;
  /** The link ended before the outcome. */
  _lost?(error: JugglerError): void;
}

/** What a link tells its client. */
export interface LinkHost {
  readonly _url: string | (() => string | Promise<string>);
  readonly _settings: ClientOptions;
  /** Signs in on links, if the client does that. */
  readonly _signIn: SignIn | undefined;
  /** Finds out whether the handshake is refused or blocked, if the client does so and none has worked yet. */
  _isBlocked: ((url: string) => Promise<boolean>) | undefined;
  /** What was found out. */
  _blocked: boolean | undefined;
  _log(level: LogLevel, message: string, detail?: unknown): void;
  _report(error: JugglerError): void;
  /** HELLO has come and the sign-in, if any, was acknowledged. */
  _linkReady(link: Link): void;
  /** What comes of a channel: see {@link ofChannels}. */
  _deliver(link: Link, message: ServerMessage): void;
  /** The server asks to move elsewhere in `after` ms. */
  _goAway(link: Link, after: number): void;
  /** An exchange of this link has ended. */
  _exchangeEnded(link: Link): void;
  /** The link is over. `final`: opening another would end the same way. */
  _linkEnded(link: Link, error: JugglerError, final: boolean): void;
}

/** The length of JSON in UTF-8, which is what the server limits. */
export const byteLength = (json: string): number => encodeURI(json).replace(/%../g, '_').length;

/** Fields of a message, as JSON with a leading comma. What JSON cannot say is left out, or throws. */
export function fieldsOf(fields: object): string {
  try {
    return `,${JSON.stringify(fields).slice(1, -1)}`;
  } catch (cause) {
    // JSON says best what is wrong with a circle or a BigInt.
    throw new JugglerError(400, `${cause}`, 'refused', { cause });
  }
}

/** The types of the messages about a channel. */
const ofChannels = /^(EVNT|GAP|HERE|SUBS|UNSS)$/;

/**
 * One WebSocket connection from its handshake to its end: matches answers to
 * requests, answers PING and notices silence. It never reconnects: that is the
 * client's part.
 */
export class Link {
  /** HELLO, once it has come. */
  _greeting: ServerMessage | undefined;
  /** The message that says what the session may use: HELLO, or the newest ACK of AUTH. */
  _grant!: ServerMessage;
  /** HELLO has come and the sign-in, if any, was acknowledged. */
  _ready: boolean | undefined;
  _ended: boolean | undefined;
  _openedAt!: number;
  /** How many have no outcome yet: as the server counts, whether or not somebody still waits for it. */
  _calls = 0;
  /** How many topics the server was asked for, and has not refused. */
  _topics = 0;
  /** The SUBS of what the server has subscribed the session to by itself, by the topic's key. */
  readonly _made = new Map<string, ServerMessage>();
  /** When the credentials are renewed, and how often that has failed since it last did not. */
  readonly _renewal = new Timer();
  _failedRenewals = 0;

  private _socket: WebSocketLike | undefined;
  private _pending = new Map<string, Exchange>();
  private _lastId = 0;
  /** Those of HELLO. */
  private _limits: any;
  /** When all that was sent is within its rate again, by the rate's name. */
  private _paid: Record<string, number> = {};
  /** The length of what was sent and has no answer yet. */
  private _unanswered = 0;
  /** What GOAWAY said before the link was ready. */
  private _moveIn: number | undefined;
  private _heard: boolean | undefined;
  /** Whether the server was asked for a sign of life. */
  private _asked: boolean | undefined;
  private _liveness = new Timer();

  constructor(private readonly _host: LinkHost) {}

  /** Whether requests can be sent. */
  get _usable(): boolean {
    return !!this._ready && this._use();
  }

  /** What the server allows of something, as HELLO said. */
  _limit(of: 'calls' | 'subscriptions' | 'timeout' | 'message'): number {
    return positive(this._limits[of], Infinity);
  }

  /**
   * Counts a request with these fields, and returns how long it has to wait, in
   * ms, as HELLO stated rates. It keeps a little below them: what is sent one
   * after the other may arrive at once, and answers to PING count, too.
   */
  _spend(of: string, fields = ''): number {
    const spend = (of: string, units: number): number => {
      const { per_second, burst } = this._limits.rates?.[of] ?? {};
      const each = 1_100 / per_second;
      const paid = (this._paid[of] = Math.max(this._paid[of] ?? 0, now()) + each * Math.min(units, burst));
      return paid - now() - each * Math.max(burst * 0.75, 1) || 0;
    };
    // The link adds fields, too.
    return Math.max(spend('messages', 1 + ((byteLength(fields) + 64) >> 10)), spend(of, 1));
  }

  /** Whether nothing is waited for. */
  get _idle(): boolean {
    return !this._pending.size;
  }

  /** Opens the connection. Its end, whatever the reason, is told to the host. */
  async _open(): Promise<void> {
    if (this._ended) return;
    const { _url: url, _settings, _signIn: signIn } = this._host;
    const { connectTimeout = 15_000, WebSocket: Socket = globalThis.WebSocket } = _settings;
    this._openedAt = now();
    signIn?._prepare(); // While the handshake runs.
    this._liveness._set(connectTimeout, () => this._fail('no answer in time'));
    let address;
    try {
      address = typeof url === 'string' ? url : await url();
      if (this._ended) return;
      if (!Socket) throw new SyntaxError('no WebSocket: pass one in the options');
      this._attach(new Socket(address, [`${PROTOCOL}.batch`, PROTOCOL]), address);
    } catch (cause) {
      if (this._ended) return;
      // A URL that is wrong or forbidden stays so; what else it may lack (the
      // memory, the permission, the context of a request) can come.
      const final = !!address && ['SyntaxError', 'SecurityError'].includes(Object(cause).name);
      const what = address ? 'connect' : 'get the URL';
      const error = new JugglerError(final ? 400 : 1006, `cannot ${what}: ${cause}`, 'refused', { cause });
      if (!address) this._host._report(error);
      this._end(error, final);
    }
  }

  private _attach(socket: WebSocketLike, url: string): void {
    this._socket = socket;
    const failure = (): string => (this._greeting ? 'connection lost' : 'cannot connect');
    socket.onopen = () => {
      // Most runtimes fail such a handshake themselves. Some do not know what was agreed on: HELLO tells.
      // workerd says null where it knows that nothing was agreed on.
      if (/^(juggler|undefined)/.test(socket.protocol as string)) return;
      new Timer()._set(DOUBT_WAIT, () => {
        if (!this._greeting) this._fail(`the server speaks no ${PROTOCOL}`);
      });
    };
    // The connection has failed, and `close` may come late (`ws`) or never (Node
    // 22, Chromium where a policy forbids the connection). With `ws`, the error
    // throws if nobody takes it.
    socket.onerror = async ({ error, message }) => {
      const cause = error || message || undefined;
      const host = this._host;
      // A browser does not say what went wrong.
      let blocked;
      if (!cause && globalThis.location && host._isBlocked) {
        socket.onclose = null;
        blocked = host._blocked ||= await host._isBlocked(url);
        if (typeof process === 'object' && process.env.NODE_ENV !== 'production') void explain(url, blocked, host);
      }
      this._fail(failure(), cause, blocked);
    };
    socket.onmessage = ({ data }) => {
      this._heard = true;
      let message;
      try {
        message = JSON.parse((data as string).trim()) as unknown; // of a binary message it throws
      } catch {
        // Reported below, as is JSON that is no object.
      }
      // Several events may come as one message.
      for (const each of [message].flat()) {
        // It broke the protocol: nothing that follows can be trusted.
        if (each !== Object(each)) return this._end(nonsense(data));
        this._receive(each as ServerMessage);
      }
    };
    socket.onclose = ({ code, reason }) => {
      const known = positive(code, 1006);
      this._end(new JugglerError(known, reason || `${failure()} (${known})`));
    };
  }

  /**
   * Sends a request. False: it was not sent and may be sent elsewhere.
   * A request that the server would not take is settled at once.
   */
  _request(exchange: Exchange, fields = exchange._fields): boolean {
    const id = `${++this._lastId}`;
    const text = `{"type":"${exchange._type}","id":"${id}"${fields}}`;
    const most = this._limit('message');
    if (byteLength(text) > most) {
      exchange._settle?.(new JugglerError(413, `the server allows ${most} bytes`, 'refused'), {});
      return true;
    }
    exchange._id = id;
    exchange._acked = false;
    // Before it is sent, as the answer may come while it is.
    this._pending.set(id, exchange);
    this._count(exchange, 1);
    return this._send(text) || this._forget(exchange);
  }

  private _forget(exchange: Exchange): false {
    this._pending.delete(exchange._id!);
    this._count(exchange, -1);
    return false;
  }

  private _count({ _type, _fields }: Exchange, sign: 1 | -1): void {
    if (_type === 'CALL') this._calls += sign;
    this._unanswered += sign * _fields.length;
  }

  /** Whether a request of this length may be sent now: what has no answer is bounded. */
  _hasRoom(length: number): boolean {
    return this._idle || this._unanswered + length <= UNANSWERED;
  }

  /** Forgets whom to tell of an exchange that was sent here: its answer is still awaited, and dropped. */
  _drop(exchange: Exchange): void {
    if (exchange._type === 'CALL') this._send(`{"type":"CANCEL","for":"${exchange._id}"}`);
    // The copy has no method that would tell.
    this._pending.set(exchange._id!, { ...exchange, _hear() {} });
  }

  /**
   * Finds out soon whether the server is still there: after a phone woke up or
   * the network changed, the socket may be dead without knowing it. The
   * message is one that every server answers, if only with NACK 400.
   */
  _check(): void {
    // One question at a time: another would put off the end of a server that does not answer.
    if (!this._ready || (this._asked && !this._heard)) return;
    this._request({ _type: 'PING', _fields: '' });
    this._watch(PROBE_WAIT, true);
  }

  /**
   * Ends the connection; whoever waits for something on it is told.
   * `whenClosed` is called once the socket is closed too.
   */
  _end(error: JugglerError, final = isFinal(error.code), whenClosed: (() => void) | null = null): void {
    if (this._ended) return;
    // The server had no patience with a slow token, or with how long it took itself to look at one.
    if (error.code === 4400 && this._greeting && !this._ready) final = false;
    this._ended = true;
    this._ready = false;
    this._liveness._clear();
    this._renewal._clear();
    const socket = this._socket;
    try {
      if (socket) {
        socket.onmessage = null;
        socket.onclose = whenClosed;
        socket.close(error.code === 1000 ? 1000 : GIVE_UP, error.message.slice(0, 40));
      } else whenClosed?.();
    } catch {
      whenClosed?.();
    }
    this._pending.forEach((exchange) => {
      this._forget(exchange);
      exchange._lost?.(error);
    });
    this._host._linkEnded(this, error, final);
  }

  /** Sends a message that has no answer. False: it was not sent. */
  _send(text: string): boolean {
    return this._use((socket) => socket.send(text));
  }

  /**
   * Does something with the socket, if it is open. One that throws is given
   * up: in a worker, that of an earlier request is out of reach.
   */
  private _use(action?: (socket: WebSocketLike) => void): boolean {
    const socket = this._socket;
    try {
      if (socket?.readyState !== 1) return false;
      action?.(socket);
      return true;
    } catch (cause) {
      queueMicrotask(() => this._fail('cannot use the WebSocket', cause));
      return false;
    }
  }

  private _fail(message: string, cause?: unknown, blocked?: boolean): void {
    this._end(new JugglerError(1006, message, 'unknown', { cause, blocked }));
  }

  private _receive(message: ServerMessage): void {
    const { type, channel, error } = message;
    const exchange = this._pending.get(message.for as string);
    const isCall = exchange?._type === 'CALL';
    const isAck = type === 'ACK';
    const isNack = type === 'NACK';
    if (exchange && (isAck ? !exchange._acked : isNack || (type === 'RES' && isCall))) {
      exchange._acked = true;
      if (isAck && isCall) return exchange._hear?.(message);
      this._forget(exchange);
      exchange._settle?.(isNack || (!isAck && error) ? wireError(error, isNack, exchange) : undefined, message);
      this._host._exchangeEnded(this);
    } else if (ofChannels.test(type as string) && typeof channel === 'string') this._host._deliver(this, message);
    else if (type === 'PING') this._send('{"type":"PONG"}');
    else if (type === 'HELLO' && !this._greeting) this._greet(message);
    else if (type === 'GOAWAY') this._goAway(positive(message['after'], 0));
    else if (typeof type !== 'string' || /^(N?ACK|RES|HELLO)$/.test(type) || ofChannels.test(type)) this._host._report(nonsense(message));
    else if (exchange?._hear) exchange._hear(message);
    else this._host._log('debug', 'unknown message', message); // a newer server's
  }

  private _greet(greeting: ServerMessage): void {
    this._greeting = this._grant = greeting;
    this._limits = Object(greeting.limits);
    this._host._isBlocked = undefined;
    const { _signIn: signIn } = this._host;
    if (signIn) void signIn._start(this);
    else this._becomeReady();
  }

  _becomeReady(): void {
    this._ready = true;
    this._watch();
    this._host._linkReady(this);
    if (this._moveIn !== undefined) this._goAway(this._moveIn);
  }

  /** The server may say it while the client is still signing in; the client moves once it has. */
  private _goAway(after: number): void {
    if (this._ready) this._host._goAway(this, after);
    else this._moveIn = after;
  }

  /**
   * Expects some message within `wait`. The server sends PING when it has sent
   * nothing for `ping` ms; after silence the client asks once before it takes
   * the server as gone, as its own timers may have been suspended.
   */
  private _watch(wait = positive(this._greeting!.ping, 25_000) * 1.5, asked?: boolean): void {
    this._heard = false;
    this._asked = asked;
    this._liveness._set(wait, () => {
      if (this._heard) this._watch();
      else if (asked || !this._usable) this._fail('no answer in time');
      else this._check();
    });
  }
}

/**
 * Whether the client has to give up after this WebSocket close code, which is
 * a refusal of the server. After a normal end that the client did not ask for,
 * as of a proxy that has been idle for long, it comes back.
 */
const isFinal = (code: number): boolean => code >= 4100 && code < 4500;

/** The server sent this. */
const nonsense = (data: unknown): JugglerError =>
  new JugglerError(1002, 'the server sent nonsense', 'unknown', { data });
