import type { JugglerError } from './error.js';

/**
 * What a server offers: the URIs that can be called and the channels that
 * carry events. Declare one and pass it to `new Client<App>(…)`:
 *
 * ```ts
 * interface App {
 *   calls: {
 *     'math.add': (args: [number, number]) => number;
 *     'time.now': () => string;
 *     'ai.answer': (question: string) => AsyncGenerator<string, { words: number }>;
 *   };
 *   channels: {
 *     'news.go': { title: string };
 *     [user: `user.${string}`]: { online: boolean };
 *   };
 * }
 * ```
 */
export interface Contract {
  /**
   * URI to function: its one parameter is the call's `args`, its return type the
   * result; of an answer in parts it is `AsyncGenerator<Part, Result>`.
   */
  calls: object;
  /** Channel to the type of its events' `args`. */
  channels: object;
}

/** The contract of a client without one: anything may be called, results are `unknown`. */
export interface AnyContract {
  calls: Record<string, (args?: unknown) => unknown>;
  channels: Record<string, unknown>;
}

/** The URIs of a contract. */
export type Uri<C extends Contract> = keyof C['calls'] & string;

/** The channels of a contract. */
export type Channel<C extends Contract> = keyof C['channels'] & string;

type Fn = (...args: never[]) => unknown;

/** The arguments of a URI of a contract. */
export type Args<C extends Contract, U extends Uri<C>> = C['calls'][U] extends Fn
  ? Parameters<C['calls'][U]>[0]
  : unknown;

type Answer<T> = [T] extends [never]
  ? { part: unknown; result: never }
  : T extends AsyncGenerator<infer P, infer R, any>
    ? { part: P; result: R }
    : { part: unknown; result: Awaited<T> };

/** The result of a URI of a contract. */
export type Result<C extends Contract, U extends Uri<C>> = C['calls'][U] extends Fn
  ? Answer<ReturnType<C['calls'][U]>>['result']
  : unknown;

/** The parts that come before the result of a URI of a contract. */
export type Part<C extends Contract, U extends Uri<C>> = C['calls'][U] extends Fn
  ? Answer<ReturnType<C['calls'][U]>>['part']
  : unknown;

/** What follows the URI in `call`: args are required only if the function's are. */
export type CallParameters<C extends Contract, U extends Uri<C>, O> = C['calls'][U] extends Fn
  ? Parameters<C['calls'][U]> extends []
    ? [args?: undefined, options?: O]
    : Parameters<C['calls'][U]> extends [unknown]
      ? [args: Args<C, U>, options?: O]
      : [args?: Args<C, U>, options?: O]
  : [args?: unknown, options?: O];

/** One event of a channel. */
export interface JugglerEvent<T = unknown, Name extends string = string> {
  readonly type: 'EVNT';
  /** The publication's id. Two subscriptions that both match get the same. */
  readonly id: string;
  /** The channel that it was published on. */
  readonly channel: Name;
  /** The channel is one of the server's own, as of {@link withServer}. */
  readonly own?: true;
  /** The pattern that matched, if the subscription is one to a pattern. */
  readonly pattern?: string;
  /** What was published. */
  readonly args: T;
  /** What the publisher and the server added: trace context, an authenticated user id. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** The strings that a pattern may match, as far as TypeScript can tell. */
type Glob<P extends string> = P extends `${string}${'?' | '[' | '\\'}${string}`
  ? string
  : P extends `${infer A}*${infer B}`
    ? `${A}${string}${Glob<B>}`
    : P;

type Matching<C extends Contract, P extends string> = {
  [K in Channel<C>]: K extends Glob<P> ? K : Glob<P> extends K ? K : never;
}[Channel<C>];

/** The events that a channel of a contract carries. */
export type ChannelEvent<C extends Contract, N extends Channel<C>> = JugglerEvent<C['channels'][N], N>;

/** The events of all channels of a contract that a pattern matches, told apart by `channel`. */
export type PatternEvent<C extends Contract, P extends string> = [Matching<C, P>] extends [never]
  ? JugglerEvent
  : { [K in Matching<C, P>]: JugglerEvent<C['channels'][K], K> }[Matching<C, P>];

/** A promise-free account of the connection. A new object at each change, never modified. */
export type State =
  /** Not connected and not trying to: not yet used, closed, or refused (then with `error`). */
  | { readonly status: 'closed'; readonly error?: JugglerError }
  /** Opening a connection and signing in. */
  | { readonly status: 'connecting' }
  /** Ready. `session` and `node` are the server's ids, for its logs. */
  | { readonly status: 'open'; readonly session: string; readonly node: string }
  /** Lost or not reached, because of `error`; the next try is at `retryAt` (as `Date.now()`). */
  | { readonly status: 'waiting'; readonly error: JugglerError; readonly retryAt: number };

/** Events may have been missed: read again the state that they would have changed. */
export interface Gap {
  /** The channel or the pattern that was subscribed to. */
  readonly channel: string;
  readonly pattern: boolean;
  /** The channel is one of the server's own, as of {@link withServer}. */
  readonly own?: true | undefined;
  /** `reconnect`: the connection was lost for a while. `server`: the server lost its broker for a while. */
  readonly reason: 'reconnect' | 'server';
}

/** What `client.on` can listen to. */
export interface ClientEvents {
  /** The connection's state has changed. */
  state: State;
  /** The server refuses this client (close code 4400, 4403, …) and the client has given up. */
  refused: JugglerError;
  /** Some subscription may have missed events; also told to that subscription's `onGap`. */
  gap: Gap;
  /**
   * Something went wrong that no promise tells: a bad message, a handler or a
   * listener that threw, a token that it could not get, a subscription that is
   * refused for now, a connection that was closed for a mistake of the client.
   */
  error: JugglerError;
}

/** How important a log line is. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** The part of a WebSocket that the client uses; the browser's, Node's and the `ws` package's all have it. */
export interface WebSocketLike {
  readonly readyState: number;
  /** The subprotocol that the server has agreed on, if the socket can tell. */
  readonly protocol?: string | null;
  onopen?: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

/** A constructor of WebSockets. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

/** What `new Client` takes. All times are milliseconds. */
export interface ClientOptions {
  /**
   * Supplies the token to sign in with, sent as the first message of each
   * connection and again before the credentials expire; null: a guest, do not
   * sign in. Without it the client does not sign in (the handshake's cookies
   * or the URL may have done so).
   *
   * It is asked by one connection at a time, while the handshake runs; an
   * answer that comes late is used by the next connection, for a minute. If it
   * throws, the client reports that and asks again, with growing pauses; an
   * error whose `code` is 401 or 403 says that the user is signed out: the
   * client is refused, as if by the server, until `connect()`.
   */
  auth?: () => string | null | undefined | Promise<string | null | undefined>;
  /** The WebSocket to use; `globalThis.WebSocket` by default. Node before 22 has none: pass that of the `ws` package. */
  WebSocket?: WebSocketConstructor;
  /** The timeout of requests that name none. Default 30,000. */
  timeout?: number;
  /** How long opening a connection and signing in may take before the next try. Default 15,000. */
  connectTimeout?: number;
  /** The pause before try n is random between 0 and the smaller of `max` and `min` × 2ⁿ. Default 500 and 30,000. */
  backoff?: { min?: number; max?: number };
  /**
   * How many calls and publications may wait to be sent, for a connection or
   * for room; beyond it they are rejected with 429. Default 10,000. See
   * `Client.drained`.
   */
  queueLimit?: number;
  /** How long they may be together, in characters of their JSON; beyond it they are rejected with 429. Default 16 Mi. */
  queueSize?: number;
  /**
   * Tells whether something answers where a page could not open a connection:
   * pass the function `isBlocked` of this package to have
   * {@link JugglerError.blocked} in production, too. In development that is the
   * default.
   */
  isBlocked?: (url: string) => Promise<boolean>;
  /** Receives what the client would log. By default warnings and errors go to the console. */
  logger?: (level: LogLevel, message: string, detail?: unknown) => void;
}

/** What `new CoreClient` takes. All times are milliseconds. */
export type CoreOptions = Omit<ClientOptions, 'auth'>;

/** Options of one call or publication. */
export interface RequestOptions {
  /** Milliseconds from now to the answer, waiting for a connection included. */
  timeout?: number;
  /** Gives the request up when aborted: it rejects with the signal's reason. A call is also cancelled at the server. */
  signal?: AbortSignal | undefined;
  /** Sent along: trace context, tenant, and the like. */
  headers?: Record<string, string>;
  /**
   * Whether to wait, within the timeout, for a connection and for a server
   * that says when to try again (`retry_after`). False: fail at once. Default true.
   */
  wait?: boolean;
  /**
   * Doing it twice is the same as doing it once: if the connection is lost
   * before the answer, send it again. Default false: it rejects, as its
   * outcome is unknown.
   */
  idempotent?: boolean;
}

/** Options of one call whose answer comes in parts. */
export interface StreamOptions extends RequestOptions {
  /**
   * How many parts may be on their way or wait to be taken: from 1 to
   * 1,000,000. Once half of them are taken, the client asks for as many more.
   * Default 128.
   */
  parts?: number;
}

/** What the server knows of a call with a key when a client has joined it. */
export interface Attached {
  /** `new`: the client has just made it. `running`: it has no outcome yet. `done`: it has. */
  readonly state: 'new' | 'running' | 'done';
  /** Of a stream: the number of the first part that comes, if older ones that it lacks are not kept any more. */
  readonly from?: number | undefined;
}

/** Options of one call, or stream, with a key. Its `timeout` is the call's own if this client makes it. */
export interface KeyedOptions extends Omit<StreamOptions, 'idempotent'> {
  /**
   * Joins the call, and never makes it: if nothing is kept of it, it rejects
   * with 410. The args are not looked at then. A stream goes on behind the part
   * of this number; 0: all that are kept.
   */
  since?: number | undefined;
  /** Ends the call for all who have joined it when aborted, at the callee too: it rejects with 499. */
  stop?: AbortSignal | undefined;
  /** The client has made or joined the call: at first, and again after a lost connection. */
  onAttach?: ((attached: Attached) => void) | undefined;
}

/** Options of one publication. */
export interface PublishOptions extends RequestOptions {
  /**
   * What the server knows the publication by for five minutes, if it keeps the
   * channel's events and the client has signed in: 1 to 64 bytes of UTF-8.
   * Another publication of the same user on the channel with this key is not
   * made if its args are the same, and rejected with 409 if they are not. The
   * client gives a key of its own to each that has none, and repeats by it
   * what a lost connection has left unknown.
   */
  key?: string | undefined;
}

/** Options of one subscription. */
export interface SubscribeOptions {
  /** The channel is a pattern: `*` any characters, `?` any one, `[ab]` one of these. Default false. */
  pattern?: boolean;
  /** The server has confirmed the subscription: at first, and again after a reconnection or a refusal. */
  onReady?: (() => void) | undefined;
  /** Events may have been missed: read the state again. */
  onGap?: ((gap: Gap) => void) | undefined;
  /**
   * The server refuses the subscription, or allows no more of them. It is told
   * once; the client goes on asking, with growing pauses or when there is room.
   * With the codes 400 (it cannot be asked for) and 4500 (the iterator's buffer
   * overflowed), and without a handler, it has ended.
   */
  onError?: ((error: JugglerError) => void) | undefined;
  /**
   * How many of the newest events are delivered first, of a channel whose
   * events the server keeps: from 1 to 1,000,000. It counts for the
   * subscription with which the client subscribes to the channel; those that it
   * makes while it has one begin with the next event. Not of a pattern.
   */
  last?: number | undefined;
  /** How many events may wait for the async iterator. Beyond it the iteration ends in an error. Default 1,024. */
  buffer?: number;
  /** Ends the subscription when aborted. */
  signal?: AbortSignal | undefined;
}

/** A user who is in a channel. */
export interface Member<Info = unknown> {
  readonly user: string;
  /** How many sessions the user has there. */
  readonly sessions: number;
  /** What the server says of the user, if it does. */
  readonly info?: Info;
}

/** A change of who is in a channel; see {@link members}. */
export interface MembersChange<Info = unknown> {
  /** Who is there now, a new array each time; undefined: they are more than the server lists. */
  readonly members: readonly Member<Info>[] | undefined;
  /** How many users are there now. */
  readonly count: number;
  /** Who has come, or has another number of sessions or another `info`; at first, all of them. */
  readonly join: readonly Member<Info>[];
  /** Who has gone. */
  readonly leave: readonly string[];
}

/** Options of {@link members}. */
export interface MembersOptions extends Omit<SubscribeOptions, 'pattern' | 'onGap' | 'last'> {}

/** Options of a subscription that the server makes; see {@link withServer}. */
export interface ServerOptions extends SubscribeOptions {
  /** It is the server that says with what it begins. */
  last?: undefined;
  /** The channel is one of the server's own, such as that of a user: another than the one of this name that clients subscribe to. */
  own?: boolean | undefined;
}

/** Such options as `subscribe` takes them: of a pattern, or of a channel. */
export type ServerSubscription<O extends ServerOptions> = ServerOptions & (O extends { pattern: true } ? { pattern: true } : { pattern?: false });

/** What the server has subscribed the client to by itself; see {@link onServer}. */
export interface Made {
  /** The channel or the pattern. */
  readonly channel: string;
  /** Whether `channel` is a pattern. */
  readonly pattern: boolean;
  /** Whether it is a channel of the server's own. */
  readonly own: boolean;
}
