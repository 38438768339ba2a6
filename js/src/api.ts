import { Client as Implementation } from './client.js';
import { CoreClient as CoreImplementation } from './core.js';
import type {
  AnyContract,
  CallParameters,
  Channel,
  ChannelEvent,
  ClientEvents,
  ClientOptions,
  CoreOptions,
  Contract,
  JugglerEvent,
  Member,
  MembersChange,
  PatternEvent,
  PublishOptions,
  RequestOptions,
  Result,
  State,
  SubscribeOptions,
  Uri,
} from './types.js';

declare global {
  // What the library esnext.disposable declares, which TypeScript has from 5.2 on.
  interface SymbolConstructor {
    readonly dispose: unique symbol;
    readonly asyncDispose: unique symbol;
  }
  interface Disposable {
    [Symbol.dispose](): void;
  }
  interface AsyncDisposable {
    [Symbol.asyncDispose](): PromiseLike<void>;
  }
}

/**
 * The core of a {@link Client}, for applications that count every byte: what it
 * takes to connect, call, publish and subscribe with a handler. It has no
 * option `auth`, no loops over events, and does not check what the application
 * passes, which TypeScript does: a wrong call is answered by the server, with
 * an error or with the end of the connection.
 */
export interface CoreClient<C extends Contract = AnyContract> {
  /** The connection's present state: the same object until it changes. */
  readonly state: State;

  /** Listens to what happens to the client; the function returned ends that. */
  on<K extends keyof ClientEvents>(type: K, listener: (event: ClientEvents[K]) => void): () => void;

  /**
   * Connects now rather than at the first use; also again after `close()` or a
   * refusal. While waiting for the next try, tries at once, unless that was
   * done within the last second; after refusals, with pauses that grow. While
   * open, checks that the server is still there: call it when an app comes to
   * the foreground.
   */
  connect(): void;

  /**
   * Closes the connection. Requests under way are rejected; `for await` loops
   * end; subscriptions with a handler rest until `connect()`. Resolves when
   * the socket is closed, after a second at most.
   */
  close(): Promise<void>;

  /** Closes the client: `await using client = new Client(…)`. */
  [Symbol.asyncDispose](): Promise<void>;

  /**
   * Calls a URI and resolves to its result, or rejects with a
   * {@link JugglerError}. If the connection is lost before the answer, it is
   * not repeated unless it is `idempotent`.
   */
  call<U extends Uri<C>>(uri: U, ...rest: CallParameters<C, U, RequestOptions>): Promise<Result<C, U>>;

  /**
   * Publishes on a channel; resolves once the server has taken it. The
   * publications of a client are taken in their order, also those that the
   * server asks to repeat; if a later one was taken first, which it can be when
   * the server puts off one of several on their way, the earlier is rejected.
   * One of which nobody knows whether it was taken is repeated, if the server
   * tells such repetitions from others (see {@link PublishOptions.key}).
   */
  publish<N extends Channel<C>>(channel: N, args: C['channels'][N], options?: PublishOptions): Promise<void>;

  /**
   * Resolves once nothing waits to be sent. What is sent and not answered is
   * bounded, so whoever awaits this before each of many requests sends no
   * faster than the server answers, and fills no queue.
   */
  drained(): Promise<void>;

  /**
   * Subscribes to a channel, or to a pattern. Events go to the handler. It is
   * restored after a reconnection, and ends with `unsubscribe()`.
   */
  subscribe<N extends Channel<C>>(channel: N, handler: (event: ChannelEvent<C, N>) => void): CoreSubscription;
  subscribe<P extends string>(
    pattern: P,
    options: SubscribeOptions & { pattern: true },
    handler: (event: PatternEvent<C, P>) => void,
  ): CoreSubscription;
  subscribe<N extends Channel<C>>(
    channel: N,
    options: SubscribeOptions & { pattern?: false },
    handler: (event: ChannelEvent<C, N>) => void,
  ): CoreSubscription;
}

/**
 * A connection to a juggler server that mends itself. It connects at the
 * first use; making one costs nothing and touches nothing, so it may be made
 * while rendering on a server.
 *
 * Its methods may be taken off it (`const { call } = client`), and it may be
 * kept in a reactive store or behind any other Proxy.
 */
export interface Client<C extends Contract = AnyContract> extends CoreClient<C> {
  /**
   * Subscribes to a channel, or to a pattern. Events go to the handler;
   * without one, they wait for a `for await` loop over the subscription. It is
   * restored after a reconnection, and ends with `unsubscribe()`.
   */
  subscribe<N extends Channel<C>>(
    channel: N,
    handler?: (event: ChannelEvent<C, N>) => void,
  ): Subscription<ChannelEvent<C, N>>;
  subscribe<P extends string>(
    pattern: P,
    options: SubscribeOptions & { pattern: true },
    handler?: (event: PatternEvent<C, P>) => void,
  ): Subscription<PatternEvent<C, P>>;
  subscribe<N extends Channel<C>>(
    channel: N,
    options: SubscribeOptions & { pattern?: false },
    handler?: (event: ChannelEvent<C, N>) => void,
  ): Subscription<ChannelEvent<C, N>>;
}

/**
 * An answer that comes in parts. Its parts are taken by one consumer, which is
 * a `for await` loop or whoever calls `next`. Like a client's, its methods may
 * be taken off it and it may be kept behind a Proxy.
 */
export interface Stream<Part = unknown, Result = unknown> extends AsyncIterableIterator<Part> {
  /**
   * What the callee returned behind its parts. It rejects as a call does, and
   * with 499 after the loop was left; nobody has to take notice of that, as
   * the loop throws the same. Whoever asks for it and has not begun to take
   * parts by the end of the present task wants none of them: they are dropped.
   */
  readonly result: Promise<Result>;

  /** The next part; see `for await`. */
  next(): Promise<IteratorResult<Part>>;

  /** Ends the call, as leaving a `for await` loop does: the callee is told to stop. */
  return(): Promise<IteratorResult<Part>>;

  /**
   * Iterates over the parts: those that came are given before the loop ends,
   * or throws why the call failed. Leaving it ends the call. A second loop
   * throws at once, and does not harm the first.
   */
  [Symbol.asyncIterator](): this;
}

/** Who is in a channel, and a subscription to the changes of that; see {@link members}. */
export interface Members<Info = unknown> extends Subscription<MembersChange<Info>> {
  /**
   * Who is there, as far as it is known: the same array until it changes.
   * Undefined: not known yet, or more than the server lists. While there is no
   * connection it is what was known last.
   */
  readonly members: readonly Member<Info>[] | undefined;
  /** How many users are there, as far as it is known. */
  readonly count: number | undefined;
}

/** How a {@link Client} is made. */
export interface ClientConstructor {
  /**
   * @param url - Where the server is, e.g. `wss://example.com/ws`, or a
   * function that is asked before each connection.
   */
  new <C extends Contract = AnyContract>(url: string | (() => string | Promise<string>), options?: ClientOptions): Client<C>;
}

/** Makes a {@link Client}. */
export const Client: ClientConstructor = Implementation;

/** How a {@link CoreClient} is made. */
export interface CoreClientConstructor {
  /** See {@link ClientConstructor}. */
  new <C extends Contract = AnyContract>(url: string | (() => string | Promise<string>), options?: CoreOptions): CoreClient<C>;
}

/** Makes a {@link CoreClient}. */
export const CoreClient: CoreClientConstructor = CoreImplementation;

/**
 * One subscription of the application. Like those of the client, its methods
 * may be taken off it and it may be kept behind a Proxy.
 */
export interface CoreSubscription extends Disposable {
  /** The channel or the pattern. */
  readonly channel: string;
  /** Whether `channel` is a pattern. */
  readonly pattern: boolean;

  /** Ends the subscription; a `for await` loop over it ends too. */
  unsubscribe(): void;

  /** Ends the subscription: `using sub = client.subscribe(…)`. */
  [Symbol.dispose](): void;
}

/**
 * A subscription whose events go to the handler that was given to `subscribe`;
 * without one they wait for the `for await` loop.
 */
export interface Subscription<E = JugglerEvent> extends CoreSubscription, AsyncIterableIterator<E> {
  /**
   * Resolves once the server has confirmed the subscription: no event that is
   * published later is missed while the connection lives. Rejects if the
   * server refuses it, if it ends before, or if the client's `timeout` passes
   * (the client goes on trying to subscribe all the same).
   */
  readonly ready: Promise<void>;

  /** The next event; see `for await`. */
  next(): Promise<IteratorResult<E>>;

  /** Ends the subscription, as leaving a `for await` loop does. */
  return(): Promise<IteratorResult<E>>;

  /** Iterates over the events. One loop at a time; leaving it unsubscribes. */
  [Symbol.asyncIterator](): this;
}
