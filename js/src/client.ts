import type { Client as Typed } from './api.js';
import { bind } from './bind.js';
import { checkFunction, checkOptions, checkSubscription, checkTime, checkedName, checkedOptions, payload, type CheckedOptions } from './check.js';
import { JugglerError, isFinal, isViolation } from './error.js';
import { guard, thrown } from './guard.js';
import { Link, delay, type LinkHost, type ServerMessage } from './link.js';
import { Outbox } from './outbox.js';
import { Request, type Dispatcher } from './request.js';
import { abortReason } from './signal.js';
import { Feed } from './subscription.js';
import { now } from './time.js';
import { Tokens } from './tokens.js';
import { Topic, topicKey, type Subscriber } from './topic.js';
import type { ClientEvents, ClientOptions, LogLevel, RequestOptions, State, SubscribeOptions } from './types.js';

type Handler = (event: any) => void;

/** How long after a try that failed connect() does not try at once. In ms. */
const HURRY = 1_000;

/** How long after the network or the page came back its lost connection may tell of its end. */
const WOKEN = 6_000;

/** A connection that lasted this long was a good one: the pauses between tries begin anew. */
const STABLE = 10_000;

/** How late the next try may be before whoever wants a connection makes it. */
const OVERDUE = 1_000;

/** The client behind its types: what its methods take and give depends on the contract. */
export class Client implements Typed<any> {
  #options: CheckedOptions;
  #state: State = { status: 'closed' };
  #listeners: { [K in keyof ClientEvents]?: Set<(event: ClientEvents[K]) => void> } = {};

  /** The link that requests are sent on. */
  #link: Link | undefined;
  /** The link that is being opened. */
  #opening: Link | undefined;
  /** Links that the server asked to leave, while they have something to finish. */
  #leaving = new Set<Link>();

  /** Why the client does not connect by itself: it was closed or refused. */
  #stopped: JugglerError | undefined;
  /** Why there is no connection, if one was tried. */
  #trouble: JugglerError | undefined;
  /** How many tries have failed since the last connection that lasted. */
  #attempt = 0;
  /** When it was last tried again. */
  #triedAt = -Infinity;
  #wokenAt = -Infinity;
  #openedAt = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  #loggerFailed = false;

  #outbox = new Outbox();
  #topics = new Map<string, Topic>();

  /** The client as its links, requests and subscriptions see it. */
  #host: LinkHost & Dispatcher & Subscriber;

  constructor(url: string | (() => string | Promise<string>), options: ClientOptions = {}) {
    bind(this);
    this.#options = checkedOptions(url, options);
    const client = this;
    this.#host = {
      options: this.#options,
      url,
      tokens: this.#options.auth && new Tokens(this.#options.auth),
      get link() {
        return client.#link;
      },
      get stopped() {
        return client.#stopped;
      },
      get trouble() {
        return client.#trouble;
      },
      timeout: delay(this.#options.timeout ?? 30_000),
      log: (level, message, detail) => this.#log(level, message, detail),
      report: (error) => this.#report(error),
      run: (what, code) => guard(code, (cause) => this.#failed(what, cause)),
      ready: (link) => this.#ready(link),
      deliver: (link, message) => this.#deliver(link, message),
      goAway: (link, after) => {
        this.#log('info', `the server asks to move in ${after} ms`);
        if (link === this.#link && !this.#opening) this.#openIn(after);
      },
      settled: (link) => this.#settled(link),
      ended: (link, error, final) => this.#ended(link, error, final ?? isFinal(error.code)),
      dispatch: (request) => this.#dispatch(request),
      putOff: (request) => this.#outbox.putOff(request),
      taken: (request) => this.#outbox.taken(request),
      flush: () => this.#flush(),
      release: (request) => {
        this.#outbox.remove(request);
        this.#flush();
      },
      gap: (gap) => this.#emit('gap', gap),
      forget: (topic) => {
        if (this.#topics.get(topic.key) === topic) this.#topics.delete(topic.key);
      },
      freed: (link) => {
        if (link === this.#link && link.topics === link.maxTopics - 1) {
          for (const topic of this.#topics.values()) if (topic.crowded) topic.ask();
        }
      },
    };
  }

  get state(): State {
    return this.#state;
  }

  on<K extends keyof ClientEvents>(type: K, listener: (event: ClientEvents[K]) => void): () => void {
    checkFunction('listener', listener ?? null);
    const listeners = (this.#listeners[type] ??= new Set() as never) as Set<typeof listener>;
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  connect(): void {
    const stopped = this.#stopped;
    this.#stopped = undefined;
    if (this.#link) return this.#link.check();
    if (this.#opening) return;
    // At once, but not again and again: it may be a listener that asks, or a network that comes and goes.
    const pause = this.#attempt && Math.min(this.#maxPause, stopped ? Infinity : HURRY) - (now() - this.#triedAt);
    if (pause <= 0) this.#open();
    else if (stopped || Date.now() + pause < (this.#state as { retryAt: number }).retryAt) this.#waitFor(pause, stopped ?? this.#trouble!);
  }

  close(): Promise<void> {
    const closed = Promise.all(this.#stop(new JugglerError(1000, 'the client was closed', 'unknown'), {}));
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, 1_000);
      void closed.then(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  drained(): Promise<void> {
    return this.#outbox.drained();
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

  subscribe(channel: string, optionsOrHandler?: SubscribeOptions | Handler, handler?: Handler): Feed<any> {
    const isHandler = typeof optionsOrHandler === 'function';
    const options = isHandler ? {} : (optionsOrHandler ?? {});
    const { pattern = false } = options;
    try {
      checkSubscription(channel, options, handler);
    } catch (cause) {
      // It has ended: components that subscribe go on.
      const name = String(channel);
      const error = new JugglerError(400, `${name}: cannot subscribe: ${(cause as Error).message}`, 'refused', { cause });
      this.#report(error);
      return new Feed(new Topic(name, false, this.#host), options, undefined, error);
    }
    const topic = this.#topics.get(topicKey(channel, pattern)) ?? new Topic(channel, pattern, this.#host);
    const feed = new Feed(topic, options, isHandler ? optionsOrHandler : handler);
    // Not if it has ended by now, as its signal was aborted: nobody would ever take the topic away.
    if (topic.wanted) {
      this.#topics.set(topic.key, topic);
      this.#wanted();
    }
    return feed;
  }

  // Requests.

  #request(type: 'CALL' | 'PUB', key: string, name: string, args: unknown, given?: RequestOptions | null): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const options = given ?? {};
      // What the checks throw rejects the promise.
      checkOptions(options);
      if (options.signal?.aborted) throw abortReason(options.signal);
      const fields = `,"${key}":${checkedName(key, name)}${payload(args, options)}`;
      const timeout = options.timeout ?? this.#options.timeout ?? 30_000;
      checkTime('timeout', timeout);
      this.#dispatch(new Request(type, fields, options, timeout, this.#host, resolve, reject));
    });
  }

  #dispatch(request: Request): void {
    if (this.#stopped) {
      const { code, message } = this.#stopped;
      return request.refuse(code, `not connected: ${message}`, { cause: this.#stopped });
    }
    this.#outbox.add(request);
    this.#flush();
    if (request.link || request.settled) return;
    const { queueLimit = 10_000, queueSize = 16 << 20 } = this.#options;
    if (!request.wait && !this.#link?.usable) {
      request.refuse(503, 'not connected', { retryable: true, cause: this.#trouble });
    } else if (this.#outbox.length > queueLimit || this.#outbox.size > queueSize) {
      request.refuse(429, 'too many requests wait for the connection', { retryable: true });
    }
    this.#wanted();
  }

  #flush(): void {
    this.#outbox.flush(this.#link);
  }

  /** An outcome has come on a link: there may be room for what waits, or nothing left to wait for. */
  #settled(link: Link): void {
    this.#flush();
    this.#leaveIfIdle(link);
  }

  // The connection.

  /** Something wants a connection. */
  #wanted(): void {
    const { status, retryAt = Infinity } = this.#state as { status: State['status']; retryAt?: number };
    // Overdue is a try whose timer was suspended, or ended with the request of a worker that set it.
    if (!this.#stopped && (status === 'closed' || Date.now() > retryAt + OVERDUE)) this.#open();
    // One that hangs in its closing handshake says nothing.
    else if (this.#link && !this.#link.usable) this.#link.check();
  }

  #setState(state: State): void {
    this.#state = state;
    this.#emit('state', state);
  }

  #emit<K extends keyof ClientEvents>(type: K, event: ClientEvents[K]): void {
    for (const listener of this.#listeners[type] ?? []) {
      const what = `a listener to ${type}`;
      guard(
        () => listener(event),
        // One to errors is not told of its own.
        (cause) => (type === 'error' ? this.#log('error', `${what} threw`, cause) : this.#failed(what, cause)),
      );
    }
  }

  #open(): void {
    clearTimeout(this.#timer);
    if (this.#attempt) this.#triedAt = now();
    this.#watchEnvironment(true);
    const link = (this.#opening = new Link(this.#host));
    if (this.#link) for (const topic of this.#topics.values()) topic.prepare();
    else this.#setState({ status: 'connecting' });
    void link.open();
  }

  #openIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), delay(ms));
  }

  /** A new link takes over. The one before, if there still is one, is left. */
  #ready(link: Link): void {
    const old = this.#link;
    this.#opening = undefined;
    this.#link = link;
    this.#trouble = undefined;
    this.#openedAt = now();
    for (const topic of this.#topics.values()) topic.ask();
    this.#flush();
    if (old) this.#leaving.add(old);
    this.#setState({ status: 'open', session: link.session, node: link.node });
    if (old) this.#leaveIfIdle(old);
  }

  #leaveIfIdle(link: Link): void {
    if (!this.#leaving.has(link) || !link.idle) return;
    for (const topic of this.#topics.values()) if (topic.on === link) return;
    link.end(new JugglerError(1000, 'moved to another connection', 'unknown'), false);
  }

  #ended(link: Link, error: JugglerError, final: boolean): void {
    if (isViolation(error.code)) this.#report(error);
    this.#leaving.delete(link);
    for (const topic of this.#topics.values()) topic.linkEnded(link);
    let woken = false;
    if (link === this.#opening) this.#opening = undefined;
    else if (link === this.#link) {
      this.#link = undefined;
      woken = now() - this.#wokenAt < WOKEN;
      if (now() - this.#openedAt > STABLE) this.#attempt = 0;
    } else return;
    if (this.#stopped) return;
    if (final) {
      this.#attempt++;
      this.#stop(error, { error });
      this.#log('error', `the server refuses this client: ${error.message}`);
      return this.#emit('refused', error);
    }
    this.#trouble = error;
    if (this.#opening) return this.#setState({ status: 'connecting' });
    const pause = woken ? 0 : Math.random() * this.#maxPause;
    this.#attempt++;
    this.#log('info', `${error.message}; next try in ${Math.round(pause)} ms`);
    if (this.#link) this.#openIn(pause);
    else this.#waitFor(pause, error);
  }

  /** The longest pause before the next try. */
  get #maxPause(): number {
    const { min, max } = this.#options.backoff;
    return Math.min(max, min * 2 ** this.#attempt);
  }

  #waitFor(ms: number, error: JugglerError): void {
    this.#openIn(ms);
    this.#setState({ status: 'waiting', error, retryAt: Date.now() + ms });
  }

  /**
   * Ends everything that waits, and does not connect again by itself. The
   * promises tell when the sockets are closed.
   */
  #stop(reason: JugglerError, state: { error?: JugglerError }): Promise<void>[] {
    this.#stopped = reason;
    this.#host.tokens?.forget();
    clearTimeout(this.#timer);
    this.#watchEnvironment(false);
    const links = [this.#link, this.#opening, ...this.#leaving];
    const closed = links.map((link) => new Promise<void>((resolve) => (link ? link.end(reason, true, resolve) : resolve())));
    for (const request of this.#outbox.all) this.#dispatch(request);
    for (const topic of this.#topics.values()) topic.rest(reason);
    this.#setState({ status: 'closed', ...state });
    return closed;
  }

  #deliver(link: Link, message: ServerMessage): void {
    const { channel, pattern } = message as { channel: string; pattern?: string | boolean };
    const topic = this.#topics.get(topicKey(typeof pattern === 'string' ? pattern : channel, !!pattern));
    // After UNSB some may still be on their way.
    if (!topic) this.#log('debug', 'an event without a subscription', message);
    else if (message.type === 'GAP') topic.missed('server');
    else topic.deliver(link, message);
  }

  // The browser's, or whatever there is.

  #watchEnvironment(watch: boolean): void {
    const method = watch ? 'addEventListener' : 'removeEventListener';
    for (const type of ['online', 'offline']) globalThis[method]?.(type, this.#wake);
    globalThis.document?.[method]('visibilitychange', this.#wake);
  }

  /** The network has changed, or the page is shown, be it from a cache: find out what is left of the connection. */
  #wake = ({ type }: { type: string }): void => {
    if (type === 'visibilitychange' && document.visibilityState === 'hidden') return;
    const online = globalThis.navigator?.onLine !== false;
    if (online) this.#wokenAt = now();
    if (this.#link || online) this.connect();
  };

  // What the application is told.

  #log(level: LogLevel, message: string, detail?: unknown): void {
    const { logger } = this.#options;
    const toConsole = (): void => {
      if (level === 'warn' || level === 'error') console[level](`juggler: ${message}`, detail ?? '');
    };
    if (!logger) return toConsole();
    guard(
      () => logger(level, message, detail),
      (cause) => {
        toConsole();
        // Once, as listeners that throw are logged.
        if (this.#loggerFailed) return;
        this.#loggerFailed = true;
        this.#emit('error', thrown('the logger', cause));
      },
    );
  }

  #report(error: JugglerError): void {
    this.#log('warn', error.message, error.cause ?? error.data);
    this.#emit('error', error);
  }

  /** Code of the application has thrown, or its promise was rejected. */
  #failed(what: string, cause: unknown): void {
    this.#log('error', `${what} threw`, cause);
    this.#emit('error', thrown(what, cause));
  }
}
