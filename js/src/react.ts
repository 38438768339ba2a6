/**
 * React hooks for juggler. They need React 18 or later and add nothing to an
 * application that does not import them.
 *
 * @packageDocumentation
 */
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from 'react';
import type { Client, JugglerError } from './index.js';
import type {
  AnyContract,
  CallParameters,
  Channel,
  ChannelEvent,
  Contract,
  PatternEvent,
  RequestOptions,
  Result,
  State,
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

/** Options of {@link useCall}. */
export interface UseCallOptions extends Omit<RequestOptions, 'signal'> {
  /** False: do not call, for now. Default true. */
  enabled?: boolean;
}

/** What {@link useCall} returns. */
export interface CallState<R> {
  /** The last result; it stays while a newer call is under way, and if that fails. */
  readonly data: R | undefined;
  /** Why the last call failed. */
  readonly error: JugglerError | undefined;
  /** Whether a call is under way. */
  readonly pending: boolean;
  /** Calls again, e.g. from `onGap`. */
  readonly refresh: () => void;
}

/**
 * Calls a URI when the component mounts, when the URI or the args change (by
 * their JSON), and at `refresh()`. A call that is no longer wanted is
 * cancelled, at the server too.
 */
export function useCall<C extends Contract, U extends Uri<C>>(
  client: Client<C>,
  uri: U,
  ...[args, { enabled = true, ...options } = {}]: CallParameters<C, U, UseCallOptions>
): CallState<Result<C, U>> {
  type R = Result<C, U>;
  const [state, setState] = useState<{ data?: R; error?: JugglerError; pending: boolean }>({ pending: enabled });
  const [turn, setTurn] = useState(0);
  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });
  const json = JSON.stringify(args);
  useEffect(() => {
    if (!enabled) return;
    const controller = new AbortController();
    const { signal } = controller;
    setState((was) => ({ ...was, pending: true }));
    const call = client.call as (uri: U, args: unknown, options: RequestOptions) => Promise<R>;
    call.call(client, uri, json && JSON.parse(json), { ...latest.current, signal }).then(
      (data) => signal.aborted || setState({ data, pending: false }),
      (error: JugglerError) => signal.aborted || setState((was) => ({ ...was, error, pending: false })),
    );
    return () => {
      controller.abort();
      setState((was) => ({ ...was, pending: false }));
    };
  }, [client, uri, json, enabled, turn]);
  const refresh = useCallback(() => setTurn((was) => was + 1), []);
  return { data: state.data, error: state.error, pending: state.pending, refresh };
}

/** Options of {@link useSubscription}. */
export interface UseSubscriptionOptions extends Omit<SubscribeOptions, 'signal' | 'buffer'> {}

/** What {@link useSubscription} returns. */
export interface SubscriptionState {
  /** Whether the server has confirmed the subscription since the component mounted. */
  readonly ready: boolean;
  /** Why the server refused it. */
  readonly error: JugglerError | undefined;
}

/**
 * Subscribes while the component is mounted. The newest handler and options
 * are used; only another client, channel or kind of subscription subscribes
 * anew. A channel of null: none, for now.
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
  const [state, setState] = useState<{ ready: boolean; error?: JugglerError }>({ ready: false });
  const latest = useRef({ handler, options });
  useEffect(() => {
    latest.current = { handler, options };
  });
  const { pattern = false } = options;
  useEffect(() => {
    if (channel === null) return;
    let mounted = true;
    const failed = (error: JugglerError): void => {
      if (mounted) setState({ ready: false, error });
    };
    const subscription = (client.subscribe as (...args: unknown[]) => ReturnType<Client['subscribe']>).call(
      client,
      channel,
      {
        pattern,
        onGap: (gap) => latest.current.options.onGap?.(gap),
        onError: (error) => {
          failed(error);
          latest.current.options.onError?.(error);
        },
      } satisfies SubscribeOptions,
      (event: unknown) => latest.current.handler(event),
    );
    const watch = (): void => {
      subscription.ready.then(
        () => mounted && setState({ ready: true }),
        (error: JugglerError) => {
          failed(error);
          if (mounted && error.code === 408) watch(); // The client goes on trying.
        },
      );
    };
    watch();
    // After a refusal the application may sign in and connect again.
    const off = client.on('state', ({ status }) => {
      if (status === 'open') watch();
    });
    return () => {
      mounted = false;
      off();
      subscription.unsubscribe();
      setState({ ready: false });
    };
  }, [client, channel, pattern]);
  return { ready: state.ready, error: state.error };
}
