import { checkUrl } from './check.js';
import { JugglerError, wireError } from './error.js';
import { now } from './time.js';
import type { Tokens } from './tokens.js';
import type { ClientOptions, LogLevel, WebSocketLike } from './types.js';

/** The messages of the server, as far as JSON.parse can know. Every field may be missing or wrong. */
export interface ServerMessage {
  type?: unknown;
  for?: unknown;
  error?: unknown;
  args?: unknown;
  [field: string]: unknown;
}

/** One request as a link sees it: what to send, and whom to tell the outcome. */
export interface Exchange {
  readonly type: 'CALL' | 'SUB' | 'UNSB' | 'PUB' | 'AUTH' | 'PING';
  /** The rest of the message's fields, as JSON with a leading comma. */
  readonly fields: string;
  readonly idempotent: boolean;
  /** Set by the link that sent it: its id there, and whether it was acknowledged. */
  id?: string;
  acked?: boolean;
  /** The one outcome of an exchange. Without error, `answer` is the server's last message. */
  settle(error: JugglerError | undefined, answer: ServerMessage): void;
  /** The link ended before the outcome. */
  lost(error: JugglerError): void;
}

/** What a link tells its client. */
export interface LinkHost {
  readonly options: ClientOptions;
  readonly url: string | (() => string | Promise<string>);
  /** Where tokens come from, if the client signs in. */
  readonly tokens: Tokens | undefined;
  log(level: LogLevel, message: string, detail?: unknown): void;
  report(error: JugglerError): void;
  /** HELLO has come and the sign-in, if any, was acknowledged. */
  ready(link: Link): void;
  /** An EVNT or a GAP. */
  deliver(link: Link, message: ServerMessage): void;
  /** The server asks to move elsewhere in `after` ms. */
  goAway(link: Link, after: number): void;
  /** An exchange of this link has ended. */
  settled(link: Link): void;
  /** The link is over. `final`: opening another would end the same way. */
  ended(link: Link, error: JugglerError, final: boolean | undefined): void;
}

/** A delay that setTimeout can hold: beyond 2^31-1 it would fire at once. */
export const delay = (ms: number): number => Math.min(ms, 2 ** 31 - 1);

const number = (value: unknown, otherwise: number): number =>
  typeof value === 'number' && value > 0 ? value : otherwise;

/** Whether a code says that somebody is not who he says, or may not. */
const isDenial = (code: unknown): code is number => code === 401 || code === 403;

/** The subprotocol that the client speaks. */
const PROTOCOL = 'juggler.1';

/** How long a server that has agreed on no subprotocol may take to prove that it is one of ours. */
const DOUBT_WAIT = 1_000;

/** How long a server may take to answer a sign of life. */
const PROBE_WAIT = 5_000;

/** How much may be sent on a link and have no answer, in characters. */
const UNANSWERED = 1 << 20;

/** The code with which the client closes a connection that it gives up. */
const GIVE_UP = 4000;

/** The length of a text in UTF-8, which is what the server limits. Each half of a surrogate pair counts as two. */
export const byteLength = (text: string): number =>
  text.length + text.replace(/[\0-\x7f]/g, '').length + text.replace(/[\0-\u07ff\ud800-\udfff]/g, '').length;

/**
 * One WebSocket connection from its handshake to its end: signs in, matches
 * answers to requests, answers PING and notices silence. It never reconnects:
 * that is the client's part.
 */
export class Link {
  session = '';
  node = '';
  /** How many calls the server allows at once. */
  maxCalls = Infinity;
  /** How many have no outcome yet: as the server counts, whether or not somebody still waits for it. */
  calls = 0;
  /** How many topics the server allows, and how many it was asked for that it has not refused. */
  maxTopics = Infinity;
  topics = 0;
  /** The length of what was sent and has no answer yet. */
  #unanswered = 0;
  /** The longest time that a call may ask for. */
  maxTimeout = Infinity;

  #host: LinkHost;
  #socket: WebSocketLike | undefined;
  #pending = new Map<string, Exchange>();
  #lastId = 0;
  #maxMessage = Infinity;
  #ping = 25_000;
  #ready = false;
  /** What GOAWAY said before the link was ready. */
  #moveIn: number | undefined;
  #ended = false;
  #heard = false;
  /** Whether the server was asked for a sign of life. */
  #asked = false;
  #liveness: ReturnType<typeof setTimeout> | undefined;
  #renewal: ReturnType<typeof setTimeout> | undefined;
  /** How often a renewal has failed since the last that did not. */
  #failedRenewals = 0;
  #openedAt = 0;

  constructor(host: LinkHost) {
    this.#host = host;
  }

  /** Whether requests can be sent. */
  get usable(): boolean {
    return this.#ready && this.#use();
  }

  /** Whether nothing is waited for. */
  get idle(): boolean {
    return this.#pending.size === 0;
  }

  /** Opens the connection. Its end, whatever the reason, is told to the host. */
  async open(): Promise<void> {
    if (this.#ended) return;
    const { options, url } = this.#host;
    this.#openedAt = now();
    this.#host.tokens?.prepare(); // While the handshake runs.
    this.#liveness = setTimeout(() => {
      this.#fail('the server did not complete the connection in time');
    }, delay(options.connectTimeout ?? 15_000));
    let address;
    try {
      address = typeof url === 'string' ? url : await url();
      checkUrl(address);
    } catch (cause) {
      if (!this.#ended) this.#host.report(new JugglerError(1006, 'the URL could not be had', 'unknown', { cause }));
      return this.#fail('the URL could not be had', cause);
    }
    if (this.#ended) return;
    const Socket = options.WebSocket ?? globalThis.WebSocket;
    try {
      if (!Socket) throw new SyntaxError('there is no WebSocket here: pass one in the options');
      this.#attach(new Socket(address, [PROTOCOL]));
    } catch (cause) {
      // A URL that is wrong or forbidden stays so; what else it may lack (the
      // memory, the permission, the context of a request) can come.
      const final = ['SyntaxError', 'SecurityError'].includes(Object(cause).name);
      this.end(new JugglerError(final ? 400 : 1006, `cannot connect: ${cause}`, 'refused', { cause }), final);
    }
  }

  #attach(socket: WebSocketLike): void {
    this.#socket = socket;
    socket.onopen = () => {
      // Most runtimes fail such a handshake themselves. Some do not know what was agreed on: HELLO tells.
      const { protocol = PROTOCOL } = socket;
      if (protocol === PROTOCOL) return;
      setTimeout(() => {
        if (!this.session) this.#fail(`the server did not agree to speak ${PROTOCOL}`);
      }, DOUBT_WAIT);
    };
    // The connection has failed, and `close` may come late (`ws`) or never (Node
    // 22, Chromium where a policy forbids the connection). A browser's does not
    // say what went wrong; others do. With `ws`, it throws if nobody takes it.
    socket.onerror = ({ error, message }) => this.#fail(this.#lostText(), error || message || undefined);
    socket.onmessage = ({ data }) => {
      this.#heard = true;
      let message: unknown;
      try {
        message = typeof data === 'string' && JSON.parse(data);
      } catch {
        // Reported below, as is JSON that is no object.
      }
      if (message && typeof message === 'object') this.#receive(message as ServerMessage);
      else this.#violation('a message that is not a JSON object', data);
    };
    socket.onclose = ({ code, reason }) => {
      const known = number(code, 1006);
      this.end(new JugglerError(known, reason || `${this.#lostText()} (${known})`, 'unknown'));
    };
  }

  #lostText(): string {
    return this.session ? 'connection lost' : 'could not connect';
  }

  /**
   * Sends a request. False: it was not sent and may be sent elsewhere.
   * A request that the server would not take is settled at once.
   */
  request(exchange: Exchange, fields = exchange.fields): boolean {
    if (!this.#use()) return false;
    const id = String(++this.#lastId);
    const text = `{"type":"${exchange.type}","id":"${id}"${fields}}`;
    if (text.length * 3 > this.#maxMessage && byteLength(text) > this.#maxMessage) {
      const message = `the message exceeds the server's limit of ${this.#maxMessage} bytes`;
      exchange.settle(new JugglerError(413, message, 'refused'), {});
      return true;
    }
    exchange.id = id;
    exchange.acked = false;
    this.#pending.set(id, exchange);
    this.#count(exchange, 1);
    if (this.#send(text)) return true;
    this.#pending.delete(id);
    this.#count(exchange, -1);
    return false;
  }

  #count({ type, fields }: Exchange, sign: 1 | -1): void {
    if (type === 'CALL') this.calls += sign;
    this.#unanswered += sign * fields.length;
  }

  /** Whether a request of this length may be sent now: what has no answer is bounded. */
  hasRoom(length: number): boolean {
    return this.idle || this.#unanswered + length <= UNANSWERED;
  }

  /** Asks the server to give up a call that was sent here. Its answer is still awaited, and dropped. */
  cancel(exchange: Exchange): void {
    this.#send(`{"type":"CANCEL","for":"${exchange.id}"}`);
  }

  /**
   * Finds out soon whether the server is still there: after a phone woke up or
   * the network changed, the socket may be dead without knowing it. The
   * message is one that every server answers, if only with NACK 400.
   */
  check(): void {
    // One question at a time: another would put off the end of a server that does not answer.
    if (!this.#ready || (this.#asked && !this.#heard)) return;
    const ignore = (): void => {};
    this.request({ type: 'PING', fields: '', idempotent: false, settle: ignore, lost: ignore });
    this.#watch(PROBE_WAIT, true);
  }

  /**
   * Ends the connection; whoever waits for something on it is told.
   * `whenClosed` is called once the socket is closed too.
   */
  end(error: JugglerError, final?: boolean, whenClosed: (() => void) | null = null): void {
    if (this.#ended) return;
    // The server had no patience with a slow token, or with how long it took itself to look at one.
    if (error.code === 4400 && this.session && !this.#ready) final ??= false;
    this.#ended = true;
    this.#ready = false;
    clearTimeout(this.#liveness);
    clearTimeout(this.#renewal);
    const socket = this.#socket;
    if (socket) {
      try {
        socket.onmessage = null;
        socket.onclose = whenClosed;
        socket.close(error.code === 1000 ? 1000 : GIVE_UP, error.message.slice(0, 40));
      } catch (detail) {
        whenClosed?.();
        this.#host.log('debug', 'closing the socket failed', detail);
      }
    } else whenClosed?.();
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const exchange of pending) exchange.lost(error);
    this.#host.ended(this, error, final);
  }

  /** False: it was not sent. */
  #send(text: string): boolean {
    return this.#use((socket) => socket.send(text));
  }

  /**
   * Does something with the socket, if it is open. One that throws is given
   * up: in a worker, that of an earlier request is out of reach.
   */
  #use(action?: (socket: WebSocketLike) => void): boolean {
    const socket = this.#socket;
    try {
      if (socket?.readyState !== 1) return false;
      action?.(socket);
      return true;
    } catch (cause) {
      queueMicrotask(() => this.#fail('the WebSocket cannot be used', cause));
      return false;
    }
  }

  #fail(message: string, cause?: unknown): void {
    this.end(new JugglerError(1006, message, 'unknown', { cause }));
  }

  /** The server broke the protocol: nothing that follows can be trusted. */
  #violation(what: string, detail: unknown): void {
    this.end(new JugglerError(1002, `the server sent ${what}`, 'unknown', { data: detail }));
  }

  /** The server sent what makes no sense here, but does no harm. */
  #odd(what: string, message: ServerMessage): void {
    this.#host.report(new JugglerError(1002, `the server sent ${what}`, 'unknown', { data: message }));
  }

  #receive(message: ServerMessage): void {
    const type = message.type;
    if ((type === 'EVNT' || type === 'GAP') && typeof message['channel'] === 'string') this.#host.deliver(this, message);
    else if (type === 'ACK' || type === 'RES' || type === 'NACK') this.#answer(type, message);
    else if (type === 'PING') this.#send('{"type":"PONG"}');
    else if (type === 'HELLO') this.#hello(message);
    else if (type === 'GOAWAY') this.#goAway(number(message['after'], 0));
    else if (typeof type === 'string' && type !== 'EVNT' && type !== 'GAP') {
      this.#host.log('debug', 'ignored a message of an unknown type', message); // a newer server's
    } else this.#odd('a message that makes no sense', message);
  }

  #answer(type: 'ACK' | 'RES' | 'NACK', message: ServerMessage): void {
    const id = message.for as string;
    const exchange = this.#pending.get(id);
    const isCall = exchange?.type === 'CALL';
    if (!exchange || (type === 'ACK' && exchange.acked) || (type === 'RES' && !isCall)) {
      this.#odd(`${type} for nothing`, message);
      return;
    }
    if (type === 'ACK') {
      exchange.acked = true;
      if (isCall) return;
    }
    this.#pending.delete(id);
    this.#count(exchange, -1);
    const failed = type === 'NACK' || (type === 'RES' && message.error);
    exchange.settle(failed ? wireError(message.error, type, exchange) : undefined, message);
    this.#host.settled(this);
  }

  #hello(message: ServerMessage): void {
    if (this.session) return this.#odd('a second HELLO', message);
    const limits = (message['limits'] ?? {}) as Record<string, unknown>;
    this.session = String(message['session'] ?? '?');
    this.node = String(message['node'] ?? '?');
    this.maxCalls = number(limits['calls'], Infinity);
    this.maxTopics = number(limits['subscriptions'], Infinity);
    this.maxTimeout = number(limits['timeout'], Infinity);
    this.#maxMessage = number(limits['message'], Infinity);
    this.#ping = number(message['ping'], this.#ping);
    const { tokens } = this.#host;
    if (tokens) void this.#signIn(tokens);
    else this.#becomeReady();
  }

  #becomeReady(): void {
    this.#ready = true;
    this.#watch();
    this.#host.ready(this);
    if (this.#moveIn !== undefined) this.#goAway(this.#moveIn);
  }

  /** The server may say it while the client is still signing in; the client moves once it has. */
  #goAway(after: number): void {
    if (this.#ready) this.#host.goAway(this, after);
    else this.#moveIn = after;
  }

  /** Signs in, or renews the credentials of a session that has. */
  async #signIn(tokens: Tokens): Promise<void> {
    let token, askedAt: number;
    try {
      [token, askedAt] = await tokens.take(() => !this.#ended);
    } catch (cause) {
      const { code, message } = Object(cause) as Partial<JugglerError>;
      const signedOut = isDenial(code);
      const text = signedOut ? String(message) : 'the token could not be had';
      return this.#notSignedIn(new JugglerError(signedOut ? code : 1006, text, 'refused', { cause }), signedOut);
    }
    if (this.#ended) return;
    if (token == null) {
      if (!this.#ready) this.#becomeReady();
      return;
    }
    this.request({
      type: 'AUTH',
      fields: `,"token":${JSON.stringify(token)}`,
      idempotent: true,
      settle: (error, answer) => {
        // One that had waited for a connection may have expired meanwhile.
        if (error && isDenial(error.code) && askedAt < this.#openedAt) return void this.#signIn(tokens);
        if (error) return this.#notSignedIn(error, !this.#ready && isDenial(error.code));
        this.#failedRenewals = 0;
        const expires = number(answer['expires'], 0);
        // Early enough for a slow token provider, and for one that fails once.
        if (expires) this.#signInAfter(expires - Math.min(30_000, expires / 4));
        if (!this.#ready) this.#becomeReady();
      },
      lost: () => {},
    });
  }

  #signInAfter(ms: number): void {
    this.#renewal = setTimeout(() => void this.#signIn(this.#host.tokens!), delay(ms));
  }

  /** `final`: the application says that the user is signed out, or the server that he is not allowed. */
  #notSignedIn(error: JugglerError, final: boolean): void {
    if (this.#ended) return;
    this.#host.report(error);
    // A session that has signed in lasts until its credentials expire.
    if (!this.#ready || final) this.end(error, final);
    else this.#signInAfter(Math.min(60_000, (1_000 + Math.random() * 4_000) * 2 ** this.#failedRenewals++));
  }

  /**
   * Expects some message within `wait`. The server sends PING when it has sent
   * nothing for `ping` ms; after silence the client asks once before it takes
   * the server as gone, as its own timers may have been suspended.
   */
  #watch(wait = this.#ping * 1.5, asked = false): void {
    clearTimeout(this.#liveness);
    this.#heard = false;
    this.#asked = asked;
    this.#liveness = setTimeout(() => {
      if (this.#heard) this.#watch();
      else if (asked || !this.usable) this.#fail('the server is silent');
      else this.check();
    }, delay(wait));
  }
}
