import type { CoreClient as Typed } from './api.js';
import { bind } from './bind.js';
import { checkListener } from './check.js';
import { Connection, settingsOf, type ConnectionExtras } from './connection.js';
import { doubtName } from './explain.js';
import { fieldsOf } from './link.js';
import { Request } from './request.js';
import { abortReason } from './signal.js';
import { Feed } from './subscription.js';
import { Topic, topicKey } from './topic.js';
import type { ClientEvents, CoreOptions, RequestOptions, State, SubscribeOptions } from './types.js';

type Handler = (event: any) => void;
type MakeFeed<F> = new (topic: Topic, options: SubscribeOptions, handler?: Handler) => F;

/** What a subscription is made of, where it is not what all are. */
interface Parts<F> {
  readonly _Feed?: MakeFeed<F>;
  readonly _Topic?: typeof Topic;
  readonly _own?: true;
}

/** What a client has beyond the core. */
export interface Extras<F> extends ConnectionExtras {
  _Request: typeof Request;
  _Feed: MakeFeed<F>;
  /** Throws where the application has made a mistake. */
  _checkRequest?(key: string, name: unknown, args: unknown, options: RequestOptions): void;
}

/** The client behind its types: what its methods take and give depends on the contract. */
export class CoreClient<F extends Feed<any> = Feed<any>> implements Typed<any> {
  #connection: Connection;
  #extras: Extras<F>;

  constructor(
    url: string | (() => string | Promise<string>),
    options: CoreOptions = {},
    extras: Extras<F> = { _Feed: Feed as new () => F, _Request: Request },
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
    if (typeof process === 'object' && process.env.NODE_ENV !== 'production') checkListener(listener);
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

  publish(channel: string, args: unknown, options?: RequestOptions): Promise<void> {
    return this.#request('PUB', 'channel', channel, args, options) as Promise<void>;
  }

  subscribe(channel: string, optionsOrHandler?: SubscribeOptions | Handler, handler?: Handler): F {
    const isHandler = typeof optionsOrHandler === 'function';
    const options: SubscribeOptions & Parts<F> = isHandler ? {} : (optionsOrHandler ?? {});
    const { pattern = false, _own: own, _Topic: Made = Topic } = options;
    const connection = this.#connection;
    if (typeof process === 'object' && process.env.NODE_ENV !== 'production') doubtName(channel, pattern, connection);
    const topic = connection._topics.get(topicKey(channel, pattern, own)) ?? new Made(channel, pattern, connection, options.last, own);
    topic._asks ||= Made === Topic;
    const feed = new (options._Feed ?? this.#extras._Feed)(topic, options, isHandler ? optionsOrHandler : handler);
    feed._start();
    // Not if it has ended by now, as its signal was aborted: nobody would ever take the topic away.
    if (topic._wanted) {
      connection._topics.set(topic._key, topic);
      connection._want();
    }
    return feed;
  }

  #request(type: 'CALL' | 'PUB', key: string, name: string, args: unknown, given?: RequestOptions | null): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const options: RequestOptions & { _Request?: typeof Request } = given ?? {};
      const { signal, headers, timeout = this.#connection._settings.timeout } = options;
      // What is thrown here rejects the promise.
      const fields = fieldsOf({ [key]: name, args, headers: headers || undefined });
      this.#extras._checkRequest?.(key, name, args, options);
      if (signal?.aborted) throw abortReason(signal);
      const outbox = this.#connection._outbox;
      outbox._dispatch(new (options._Request ?? this.#extras._Request)(type, fields, options, timeout, outbox, resolve, reject));
    });
  }
}
