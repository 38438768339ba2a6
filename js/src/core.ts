import type { CoreClient as Typed } from './api.js';
import { bind } from './bind.js';
import { Connection, settingsOf } from './connection.js';
import { fieldsOf } from './link.js';
import { Request } from './request.js';
import type { SignIn } from './signin.js';
import { abortReason } from './signal.js';
import { Feed } from './subscription.js';
import { Topic, topicKey } from './topic.js';
import type { ClientEvents, CoreOptions, RequestOptions, State, SubscribeOptions } from './types.js';

type Handler = (event: any) => void;

/** What a client has beyond the core. */
export interface Extras<F> {
  _subscribe(connection: Connection, channel: string, options: SubscribeOptions, handler?: Handler): F;
  /** Throws where the application has made a mistake. */
  _checkRequest?(key: string, name: unknown, args: unknown, options: RequestOptions): void;
  _signIn?: ((connection: Connection) => SignIn) | undefined;
  /** Tells the connection what changes around it; the function returned ends that. */
  _watch?(connection: Connection): () => void;
}

/** Subscribes with kinds of subscriptions and of topics. */
export function subscribe<F extends Feed<any>>(
  FeedKind: new (topic: Topic, options: SubscribeOptions, handler?: Handler) => F,
  TopicKind: typeof Topic,
  connection: Connection,
  channel: string,
  options: SubscribeOptions,
  handler?: Handler,
): F {
  const { pattern = false } = options;
  const topic = connection._topics.get(topicKey(channel, pattern)) ?? new TopicKind(channel, pattern, connection);
  const feed = new FeedKind(topic, options, handler);
  feed._start();
  // Not if it has ended by now, as its signal was aborted: nobody would ever take the topic away.
  if (topic._wanted) {
    connection._topics.set(topic._key, topic);
    connection._want();
  }
  return feed;
}

/** The client behind its types: what its methods take and give depends on the contract. */
export class CoreClient<F extends Feed<any> = Feed<any>> implements Typed<any> {
  #connection: Connection;
  #extras: Extras<F>;

  constructor(
    url: string | (() => string | Promise<string>),
    options: CoreOptions = {},
    extras: Extras<F> = { _subscribe: (...rest) => subscribe(Feed, Topic, ...rest) as F },
  ) {
    bind(this, 'on', 'connect', 'close', 'drained', 'call', 'publish', 'subscribe', /* @__KEY__ */ '_getState');
    this.#connection = new Connection(url, settingsOf(options), extras);
    this.#extras = extras;
  }

  get state(): State {
    return this._getState();
  }

  _getState(): State {
    return this.#connection._state;
  }

  on<K extends keyof ClientEvents>(type: K, listener: (event: ClientEvents[K]) => void): () => void {
    const listeners = (this.#connection._listeners[type] ??= new Set() as never) as Set<typeof listener>;
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  connect(): void {
    this.#connection._connect();
  }

  close(): Promise<void> {
    return this.#connection._close();
  }

  drained(): Promise<void> {
    return this.#connection._outbox._drained();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  call(uri: string, args?: unknown, options?: RequestOptions): Promise<any> {
    return this.#request('CALL', 'uri', uri, args, options);
  }

  async publish(channel: string, args: unknown, options?: RequestOptions): Promise<void> {
    await this.#request('PUB', 'channel', channel, args, options);
  }

  subscribe(channel: string, optionsOrHandler?: SubscribeOptions | Handler, handler?: Handler): F {
    const isHandler = typeof optionsOrHandler === 'function';
    const options = isHandler ? {} : (optionsOrHandler ?? {});
    return this.#extras._subscribe(this.#connection, channel, options, isHandler ? optionsOrHandler : handler);
  }

  #request(type: 'CALL' | 'PUB', key: string, name: string, args: unknown, given?: RequestOptions | null): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const options = given ?? {};
      const { signal, timeout, headers } = options;
      // What is thrown here rejects the promise.
      this.#extras._checkRequest?.(key, name, args, options);
      if (signal?.aborted) throw abortReason(signal);
      const fields = fieldsOf({ [key]: name, args, headers: headers ?? undefined });
      const connection = this.#connection;
      const outbox = connection._outbox;
      outbox._dispatch(new Request(type, fields, options, timeout ?? connection._settings.timeout, outbox, resolve, reject));
    });
  }
}
