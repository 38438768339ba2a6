/**
 * React hooks for juggler. They need React 18 or later and add nothing to an
 * application that does not import them.
 *
 * @packageDocumentation
 */
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from 'react';
import { Follower, Repeat, readParts, watch, watchMembers, type Parts, type Presence, type Reading } from './follow.js';
import { stream, type Client, type JugglerError, type Stream } from './index.js';
import type {
  AnyContract,
  Args,
  CallParameters,
  Channel,
  ChannelEvent,
  Contract,
  Gap,
  Member,
  Part,
  PatternEvent,
  RequestOptions,
  Result,
  State,
  StreamOptions,
  SubscribeOptions,
  Uri,
} from './types.js';

/** The connection's state; the component renders again at each change. */
export function useConnection<C extends Contract = AnyContract>(client: Client<C>): State {
  const subscribe = useCallback((changed: () => void) => client.on('state', changed), [client]);
  return useSyncExternalStore(subscribe, () => client.state, () => unused);
}

/** What a server renders, and the browser once more when it takes that over: the client there may be open by then. */
const unused: State = { status: 'closed' };

/**
 * What is known of the answer to a question, which is told from others by its
 * parts. It is kept with the question, so that no render shows it for another.
 * `tell` changes what is known of the question of its own render.
 */
function useAnswer<T extends object>(
  question: readonly unknown[],
  unknown: T,
): [known: T, tell: (change: Partial<T>) => void] {
  const isSame = (other: readonly unknown[]): boolean => question.every((part, i) => Object.is(part, other[i]));
  const [known, setKnown] = useState({ question, answer: unknown });
  return [
    isSame(known.question) ? known.answer : unknown,
    (change) => setKnown((was) => ({ question, answer: { ...(isSame(was.question) ? was.answer : unknown), ...change } })),
  ];
}

/** A value that effects read, as the newest render has it. */
function useLatest<T>(value: T): { readonly current: T } {
  const latest = useRef(value);
  useEffect(() => {
    latest.current = value;
  });
  return latest;
}

/**
 * What tells args or headers from others, and gives a copy of them as they are
 * now. What JSON cannot say is left to the client, which refuses it.
 */
function snapshot<T>(value: T): [key: string | undefined, copy: () => T] {
  try {
    const json = JSON.stringify(value) as string | undefined;
    return [json, () => (json === undefined ? value : (JSON.parse(json) as T))];
  } catch (error) {
    return [String(error), () => value];
  }
}

/** The key of a call whose options are of `withKey`: with another one, it is another call. */
const callKey = (options: object): unknown => (options as { _key?: unknown })._key;

/** The kind of a subscription whose options are of `withServer`: with another one, it is another subscription. */
const kindOf = (options: object): unknown[] => {
  const { _own: own, _Topic: made } = options as { _own?: unknown; _Topic?: unknown };
  return [own, made];
};

/** Options of {@link useCall}. */
export interface UseCallOptions extends Omit<RequestOptions, 'signal'> {
  /** False: do not call, for now. Default true. */
  enabled?: boolean;
}

/** What {@link useCall} returns. It belongs to the URI, args and headers of this render. */
export interface CallState<R> {
  /** The last result; it stays while a newer call is under way, and if that fails. */
  readonly data: R | undefined;
  /** Why the last call failed. */
  readonly error: JugglerError | undefined;
  /** Whether a call is under way. */
  readonly pending: boolean;
  /** Calls again, e.g. from `onGap`; while a call is under way, once more after it. */
  readonly refresh: () => void;
}

type Open<P, R> = (client: Client<any>, uri: string, args: unknown, options: StreamOptions) => Stream<P, R>;

type Call<R> = (uri: string, args: unknown, options: RequestOptions) => Promise<R>;

/**
 * Calls a URI when the component mounts, when the client, the URI, the args or
 * the headers change (these two by their JSON), at `refresh()`, and, if it was
 * refused, once the client has signed in or connected anew. A call that is no
 * longer wanted is cancelled, at the server too. No render sees the result or
 * the error of what it does not ask.
 *
 * A call with a key (the options are of `withKey`) is not cancelled, but left:
 * it goes on, and the next component with this key joins it.
 */
export function useCall<C extends Contract, U extends Uri<C>>(
  client: Client<C>,
  uri: U,
  ...[args, { enabled = true, ...options } = {}]: CallParameters<C, U, UseCallOptions>
): CallState<Result<C, U>> {
  type R = Result<C, U>;
  const [key, copy] = snapshot(args);
  const [headersKey] = snapshot(options.headers);
  const question = [client, uri, key, headersKey, callKey(options)] as const;
  const [known, tell] = useAnswer<Reading<R>>(question, { pending: true });
  const latest = useLatest(options);
  const repeat = useRef<() => void>(undefined);
  useEffect(() => {
    if (!enabled) return;
    let refused = false;
    const reads = new Repeat(async (signal) => {
      const call = (client.call as Call<R>).call(client, uri, copy(), { ...latest.current, signal });
      const change = await call.then(
        (data) => ({ data, error: undefined }),
        (error: JugglerError) => ({ error }),
      );
      if (signal.aborted) return;
      refused = change.error?.outcome === 'refused';
      tell({ ...change, pending: reads.wished });
    });
    repeat.current = () => {
      tell({ pending: true });
      void reads.wish();
    };
    void reads.wish();
    const off = client.on('state', ({ status }) => {
      if (status === 'open' && refused) repeat.current!();
    });
    return () => {
      off();
      reads.stop();
      repeat.current = undefined;
      tell({ pending: true }); // until it is asked again
    };
  }, [...question, enabled]);
  const refresh = useCallback(() => repeat.current?.(), []);
  return { data: known.data, error: known.error, pending: enabled && known.pending, refresh };
}

/** Options of {@link useStream}. */
export interface UseStreamOptions extends Omit<StreamOptions, 'signal'> {
  /** False: do not call, for now, and end the call under way. Default true. */
  enabled?: boolean;
}

/** What {@link useStream} returns. It belongs to the URI, args and headers of this render. */
export interface StreamState<P, R> {
  /** The parts that have come, in their order. They stay when the call fails or is stopped. */
  readonly parts: readonly P[];
  /** What the callee returned behind its parts, once it has. */
  readonly result: R | undefined;
  /** Why the call failed. */
  readonly error: JugglerError | undefined;
  /** Whether more may come. */
  readonly pending: boolean;
  /** Ends the call, at the callee too. */
  readonly stop: () => void;
  /** Calls anew, and forgets what has come. */
  readonly restart: () => void;
}

/**
 * Calls a URI whose answer comes in parts (see `stream`), and shows them as
 * they come: it renders once for all that come within 16 ms. It calls when the
 * component mounts, when the client, the URI, the args or the headers change
 * (these two by their JSON), at `restart()`, and, if it was refused, once the
 * client has signed in or connected anew. A call that is no longer wanted is
 * cancelled, at the callee too. No render sees parts of what it does not ask.
 *
 * All parts are kept, so it takes them as fast as they come, up to a window.
 *
 * An answer with a key (the options are of `withKey`) goes on when the
 * component goes away or `stop()` leaves it, and is there again, from the first
 * part on, for the next component with this key, after a reload too. The option
 * `stop` of `withKey` ends it for all.
 */
export function useStream<C extends Contract, U extends Uri<C>>(
  client: Client<C>,
  uri: U,
  ...[args, { enabled = true, ...options } = {}]: CallParameters<C, U, UseStreamOptions>
): StreamState<Part<C, U>, Result<C, U>> {
  type P = Part<C, U>;
  type R = Result<C, U>;
  const [key, copy] = snapshot(args);
  const [headersKey] = snapshot(options.headers);
  const question = [client, uri, key, headersKey, callKey(options)] as const;
  const [known, tell] = useAnswer<Parts<P, R>>(question, begun);
  const latest = useLatest(options);
  const control = useRef<{ stop(): void; restart(): void }>(undefined);
  useEffect(() => {
    if (!enabled) return;
    let refused = false;
    const open = (signal: AbortSignal): Stream<P, R> => (stream as Open<P, R>)(client, uri, copy(), { ...latest.current, signal });
    const begin = (): (() => P[]) =>
      readParts(open, (change) => {
        refused = change.error?.outcome === 'refused';
        tell(change);
      });
    let end = begin();
    const stop = (): void => {
      refused = false;
      tell({ parts: [...end()], pending: false });
    };
    const restart = (): void => {
      stop();
      tell(begun);
      end = begin();
    };
    control.current = { stop, restart };
    const off = client.on('state', ({ status }) => {
      if (status === 'open' && refused) restart();
    });
    return () => {
      off();
      end();
      control.current = undefined;
      tell(begun); // until it is called again
    };
  }, [...question, enabled]);
  const stop = useCallback(() => control.current?.stop(), []);
  const restart = useCallback(() => control.current?.restart(), []);
  const { parts, result, error } = known;
  return { parts, result, error, pending: enabled && known.pending, stop, restart };
}

/** What is known of a call that has just begun. */
const begun = { parts: [], result: undefined, error: undefined, pending: true };

/** Options of {@link useSubscription}. */
export interface UseSubscriptionOptions extends Omit<SubscribeOptions, 'signal' | 'buffer' | 'onReady'> {}

/** What {@link useSubscription} returns. It belongs to the channel of this render. */
export interface SubscriptionState {
  /** Whether the server has confirmed the subscription since the component mounted, and not refused it since. */
  readonly ready: boolean;
  /** Why the server refused it. */
  readonly error: JugglerError | undefined;
}

/**
 * Subscribes while the component is mounted. The newest handler and options
 * are used; only another client, channel or kind of subscription subscribes
 * anew. It becomes ready after a refusal, too, once the server takes it, e.g.
 * after a sign-in. A channel of null: none, for now.
 */
export function useSubscription<C extends Contract, N extends Channel<C>>(
  client: Client<C>,
  channel: N | null,
  handler: (event: ChannelEvent<C, N>) => void,
  options?: UseSubscriptionOptions & { pattern?: false },
): SubscriptionState;
export function useSubscription<C extends Contract, P extends string>(
  client: Client<C>,
  pattern: P | null,
  handler: (event: PatternEvent<C, P>) => void,
  options: UseSubscriptionOptions & { pattern: true },
): SubscriptionState;
export function useSubscription(
  client: Client,
  channel: string | null,
  handler: (event: any) => void,
  options: UseSubscriptionOptions = {},
): SubscriptionState {
  const { pattern = false } = options;
  const question = [client, channel, pattern, ...kindOf(options)];
  const [known, tell] = useAnswer<SubscriptionState>(question, { ready: false, error: undefined });
  const latest = useLatest({ handler, options });
  useEffect(() => {
    if (channel === null) return;
    const end = watch(client, channel, pattern, {
      event: (event) => latest.current.handler(event),
      gap: (gap) => latest.current.options.onGap?.(gap),
      ready: () => tell({ ready: true, error: undefined }),
      failed: (error, refused) => {
        tell({ ready: false, error });
        if (refused) latest.current.options.onError?.(error);
      },
    }, options);
    return () => {
      end();
      tell({ ready: false, error: undefined });
    };
  }, question);
  return known;
}

/** What {@link useMembers} returns. It belongs to the channel of this render. */
export interface MembersState<Info = unknown> {
  /**
   * Who is there: the same array until it changes. Undefined: not known yet, or
   * more than the server lists. While there is no connection, and behind an
   * error, it is what was known last.
   */
  readonly members: readonly Member<Info>[] | undefined;
  /** How many users are there, as far as it is known. */
  readonly count: number | undefined;
  /** Why the server does not tell, or not any more. */
  readonly error: JugglerError | undefined;
  /** Whether it is not known yet. */
  readonly pending: boolean;
}

/**
 * Follows who is in a channel while the component is mounted (see `members`).
 * It subscribes to the channel, so the user is there, too. A channel of null:
 * none, for now.
 */
export function useMembers<Info = unknown>(client: Client<any>, channel: string | null): MembersState<Info> {
  const [known, tell] = useAnswer<Presence>([client, channel], { pending: true });
  useEffect(() => {
    if (channel === null) return;
    const end = watchMembers(client, channel, tell);
    return () => {
      end();
      tell({ members: undefined, count: undefined, error: undefined, pending: true }); // until it is followed again
    };
  }, [client, channel]);
  const { members, count, error, pending } = known;
  return { members, count, error, pending: channel !== null && pending };
}

/** What {@link useChannelState} reads and follows. */
export type ChannelStateSource<C extends Contract, U extends Uri<C>, E> = UseChannelStateOptions<Result<C, U>, E> & {
  /** The call that reads the state. */
  uri: U;
} & (undefined extends Args<C, U> ? { args?: Args<C, U> } : { args: Args<C, U> });

/** How {@link useChannelState} reads and follows a state. */
export interface UseChannelStateOptions<R, E> extends Omit<RequestOptions, 'signal' | 'idempotent'> {
  /**
   * The state after an event, as a new value; undefined: read the state again.
   * Without it each event has the state read again. It must be pure. An event
   * that came while the state was read may be in it already: give the same
   * state for it then, by its `args` or by a number that the state holds.
   */
  apply?: ((state: R, event: E) => R | undefined) | undefined;
  /** Events may have been missed; the state is read again. */
  onGap?: ((gap: Gap) => void) | undefined;
}

/** What {@link useChannelState} returns. It belongs to the channel, URI, args and headers of this render. */
export interface ChannelState<R> extends CallState<R> {}

/**
 * Reads a state by a call and follows it by the events of a channel, so that
 * no change is missed and none is applied out of order: it subscribes first,
 * reads then, and applies what has come meanwhile. It reads the state again
 * after a gap, at `refresh()`, and, with growing pauses, where reading it
 * failed and may succeed later. The call has to be one that may be repeated.
 * A channel of null: none, for now. What `apply` throws, this throws when it
 * renders.
 */
export function useChannelState<C extends Contract, N extends Channel<C>, U extends Uri<C>>(
  client: Client<C>,
  channel: N | null,
  source: ChannelStateSource<C, U, ChannelEvent<C, N>> & { pattern?: false },
): ChannelState<Result<C, U>>;
export function useChannelState<C extends Contract, P extends string, U extends Uri<C>>(
  client: Client<C>,
  pattern: P | null,
  source: ChannelStateSource<C, U, PatternEvent<C, P>> & { pattern: true },
): ChannelState<Result<C, U>>;
export function useChannelState(
  client: Client,
  channel: string | null,
  source: ChannelStateSource<AnyContract, string, any> & { pattern?: boolean },
): ChannelState<unknown> {
  const { uri, args, pattern = false, apply, onGap, ...options } = source;
  const [key, copy] = snapshot(args);
  const [headersKey] = snapshot(options.headers);
  const question = [client, channel, pattern, uri, key, headersKey] as const;
  const [known, tell] = useAnswer<Reading<unknown>>(question, { pending: true });
  const latest = useLatest({ apply, onGap, options });
  const follower = useRef<Follower<unknown>>(undefined);
  useEffect(() => {
    if (channel === null) return;
    const follow = (follower.current = new Follower<unknown>(client, channel, pattern, {
      read: (signal) => client.call(uri, copy(), { ...latest.current.options, idempotent: true, signal }),
      apply: (state, event) => latest.current.apply?.(state, event),
      gap: (gap) => latest.current.onGap?.(gap),
      tell,
    }));
    return () => {
      follow.stop();
      follower.current = undefined;
      tell({ pending: true }); // until it is followed again
    };
  }, question);
  const refresh = useCallback(() => follower.current?.refresh(), []);
  if (known.thrown) throw known.thrown.cause;
  return { data: known.data, error: known.error, pending: channel !== null && known.pending, refresh };
}
