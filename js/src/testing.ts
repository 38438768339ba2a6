/**
 * A juggler server in memory, to test applications without a network: calls,
 * events, refusals, limits, lost connections. It needs no timer but for
 * {@link MockServer.delay}, so it works with fake ones of any kind.
 *
 * @packageDocumentation
 */
import { Log } from './keep.js';
import { byteLength } from './link.js';
import { MockCall, type Outcome, type UnderWay, type WireError } from './parts.js';
import { CallRecord, Joined } from './record.js';
import type { AnyContract, Args, Channel, Contract, Part, Result, Uri, WebSocketConstructor, WebSocketLike } from './types.js';

/** What a handler of {@link MockServer.handle} gets beside the args. */
export interface CallContext {
  /** Aborted when the client cancels the call, or is gone; of a call with a key, when somebody stops it. */
  readonly signal: AbortSignal;
  readonly headers: Readonly<Record<string, string>>;
  /** What tells a call with a key from all others, the same each time it is run; without a key "". */
  readonly key: string;
}

/** A publication that the server got from a client. */
export interface Publication<T = unknown> {
  readonly channel: string;
  readonly args: T;
  readonly headers: Readonly<Record<string, string>> | undefined;
}

/** Why a {@link MockServer} refuses a request. */
export interface Refusal {
  /** A code of the protocol. Default 403; 429 and 503 are those that pass. */
  code?: number;
  message?: string;
  /** When to try again, in milliseconds from now; the client then does so by itself. */
  retryAfter?: number;
  /** How many requests are refused. Default: all, until `allow`. */
  times?: number;
}

/** What a {@link MockServer} says in HELLO that it allows a connection, and holds it to. Default: no limits. */
export interface MockLimits {
  /** Bytes of a message; a longer one closes the connection with 1009. */
  message?: number;
  /** Subscriptions; one more is refused with 429. */
  subscriptions?: number;
  /** Calls without an outcome; one more is refused with 429. */
  calls?: number;
  /** Milliseconds of a call's timeout; a longer one is refused with 400. */
  timeout?: number;
}

/** Options of a {@link MockServer}. All times are milliseconds. */
export interface MockServerOptions {
  /** How long the server may be silent before it sends PING. Default 25,000; it sends none, as time may be faked. */
  ping?: number;
  /**
   * Decides about a token: false refuses it; a number accepts it for so long;
   * what it throws becomes the refusal, as with `handle`. Default: any token,
   * for ever.
   */
  auth?: (token: string) => boolean | number | Promise<boolean | number>;
  limits?: MockLimits;
  /**
   * Of which channels events are kept, and how many of the newest: by a
   * channel's name, or how names begin and then a star, as in
   * `{ 'room.*': 100 }`; of a channel of the server's own it begins with a
   * zero byte, as in `{ '\\0user:*': 100 }`. The first that matches counts. Publications may then
   * have keys; with `auth`, once the client has signed in. Default: none.
   */
  history?: Record<string, number>;
  /**
   * Whether calls may have keys; with `auth`, once the client has signed in.
   * Whoever connects is the same user. Default true.
   */
  keyed?: boolean;
  /** How many users of a channel are listed; of more, only their number is told. Default 100. */
  listed?: number;
}

interface Message {
  type: string;
  id: string;
  for: string;
  uri: string;
  channel: string;
  pattern?: boolean;
  args?: unknown;
  headers?: Record<string, string>;
  timeout?: number;
  token: string;
  since?: unknown;
  last?: unknown;
  key?: string;
  again?: boolean;
  parts?: number;
  stop?: boolean;
  own?: boolean;
  here?: boolean;
}

/** Which channel or pattern is meant by a name: see {@link MockServer.subscribe}. */
export interface MockTopic {
  /** It is a pattern. */
  pattern?: boolean;
  /** It is a channel of the server's own. */
  own?: boolean;
}

/** Who is in a channel; see {@link MockServer.here}. */
export interface MockMember {
  user: string;
  /** How many sessions the user has there. Default 1. */
  sessions?: number;
  info?: unknown;
}

type Handler = (args: any, context: CallContext) => unknown;

/**
 * The server. Give its `WebSocket` to a client:
 *
 * ```ts
 * const server = new MockServer().handle('math.add', ([a, b]) => a + b);
 * const client = new Client('ws://mock', { WebSocket: server.WebSocket });
 * ```
 */
export class MockServer<C extends Contract = AnyContract> {
  /** Connects to this server, whatever the URL. */
  readonly WebSocket: WebSocketConstructor;
  /** What clients have published, oldest first. */
  readonly published: Publication[] = [];
  /** False: connections fail, as if there were no network. */
  reachable = true;
  /** Closes new connections in place of HELLO, e.g. with 4400, 4403 or 1013. */
  refusing: { code: number; reason?: string } | undefined;
  /** How long what the server sends is under way, in milliseconds (of the fake clock, if there is one). */
  delay = 0;

  #options: MockServerOptions;
  #handlers = new Map<string, Handler>();
  #refusals = new Map<string, Refusal>();
  /** The calls with keys. */
  #records = new Map<string, CallRecord>();
  #sockets = new Set<MockSocket>();
  #logs = new Map<string, Log | undefined>();
  /** The args of publications that have a key, by channel and key. */
  #keys = new Map<string, string>();
  /** What each client is subscribed to by the server. */
  #made = new Map<string, Topic>();
  /** Who is in channels, by channel and user. */
  #here = new Map<string, Map<string, object>>();
  #publications = 0;
  #sessions = 0;

  constructor(options: MockServerOptions = {}) {
    this.#options = options;
    const server: ServerEnd = {
      connect: (socket) => this.#connect(socket),
      receive: (socket, text) => this.#receive(socket, text),
      gone: (socket) => this.#sockets.delete(socket),
      delay: () => this.delay,
    };
    this.WebSocket = class extends MockSocket {
      constructor() {
        super(server);
      }
    };
  }

  /** How many clients are connected. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** The channels and patterns that are subscribed to now, each once a connection. */
  get subscriptions(): string[] {
    return [...this.#sockets].flatMap((socket) => [...socket.topics.values()].map(({ channel }) => channel));
  }

  /**
   * Answers calls to a URI with what the function returns or resolves to. What
   * it throws becomes the error: its `code`, `message` and `data`. Without a `code`,
   * as of a plain Error, it is 500 "internal error", as with a real server.
   *
   * A generator function answers in parts: those that it yields, then what it
   * returns. It rests while the client takes no more, and ends where it rests
   * when the call is cancelled.
   */
  handle<U extends Uri<C>>(
    uri: U,
    handler: (
      args: Args<C, U>,
      context: CallContext,
    ) => Result<C, U> | Promise<Result<C, U>> | AsyncGenerator<Part<C, U>, Result<C, U>> | Generator<Part<C, U>, Result<C, U>>,
  ): this {
    this.#handlers.set(uri, handler as Handler);
    return this;
  }

  /**
   * Refuses the calls of a URI, or publications on and subscriptions to a
   * channel or pattern: they were certainly not done.
   */
  refuse(name: Uri<C> | Channel<C> | (string & {}), refusal: Refusal = {}): this {
    this.#refusals.set(name, { ...refusal });
    return this;
  }

  /** Ends what `refuse` has begun. */
  allow(name: Uri<C> | Channel<C> | (string & {})): this {
    this.#refusals.delete(name);
    return this;
  }

  /** Sends an event to all who are subscribed. */
  publish<N extends Channel<C>>(channel: N, args: C['channels'][N], headers?: Record<string, string>): void {
    this.#publish({ channel }, args, headers);
  }

  /** Sends an event on a channel of the server's own to all whom the server has subscribed to it. */
  publishOwn(channel: string, args: unknown, headers?: Record<string, string>): void {
    this.#publish({ channel, own: true }, args, headers);
  }

  #publish(name: { channel: string; own?: true }, args: unknown, headers: Record<string, string> | undefined): void {
    const id = String(++this.#publications).padStart(26, '0');
    const event = { type: 'EVNT', id, ...name, args, headers };
    const kept = this.#log(fullName(name))?.add(event) ?? event;
    for (const socket of this.#sockets) {
      for (const topic of socket.topics.values()) {
        if (topic.matches(fullName(name))) socket.deliver(topic.pattern ? { ...event, pattern: topic.channel } : kept);
      }
    }
  }

  /** Tells all who are subscribed to a channel or pattern that they may have missed events. */
  gap(channel: string, pattern = false): void {
    this.#tell({ channel, pattern }, { type: 'GAP', ...(pattern ? undefined : this.#log(channel)?.top) });
  }

  /** Tells something about a channel or pattern to all who are subscribed to it. */
  #tell(name: MockTopic & { channel: string }, message: object, then?: (socket: MockSocket) => void): void {
    for (const socket of this.#sockets) {
      const topic = socket.topics.get(topicKey(name));
      if (!topic) continue;
      socket.deliver({ ...message, ...topic.name });
      then?.(socket);
    }
  }

  /** Subscribes all clients to a channel or pattern: those that are connected, and each that connects. */
  subscribe(channel: string, { pattern = false, own = false }: MockTopic = {}): void {
    const topic = new Topic(channel, pattern, own);
    this.#made.set(topicKey(topic), topic);
    for (const socket of this.#sockets) if (socket.readyState === 1 && !socket.isNew) this.#make(socket, topic);
  }

  #make(socket: MockSocket, { channel, pattern, own }: Topic): void {
    const key = topicKey({ channel, pattern, own });
    const topic = socket.topics.get(key) ?? new Topic(channel, pattern, own);
    socket.topics.set(key, topic);
    topic.byServer = true;
    socket.deliver({ type: 'SUBS', ...topic.name, ...(pattern ? undefined : this.#log(fullName(topic))?.top) });
  }

  /**
   * Ends the subscriptions of all clients to a channel or pattern, whether they
   * or the server have made them. After the codes 404, 429 and 503 the clients
   * subscribe again.
   */
  unsubscribe(channel: string, { pattern = false, own = false, ...refusal }: MockTopic & Omit<Refusal, 'times'> = {}): void {
    const { code = 403, message = 'the subscription was taken away', retryAfter } = refusal;
    const key = topicKey({ channel, pattern, own });
    this.#made.delete(key);
    const unss = { type: 'UNSS', error: { code, message, retry_after: retryAfter } };
    this.#tell({ channel, pattern, own }, unss, (socket) => socket.topics.delete(key));
  }

  /**
   * Says who is in a channel, and tells those who follow it what has changed.
   * Of a channel of which it never was said, the server does not tell who is there.
   */
  here(channel: Channel<C>, members: readonly MockMember[]): void {
    const { listed = 100 } = this.#options;
    const before = this.#here.get(channel);
    const now = new Map(members.map(({ user, sessions = 1, info }) => [user, { user, n: sessions, info }]));
    this.#here.set(channel, now);
    const isNew = ([user, member]: [string, object]): boolean => JSON.stringify(member) !== JSON.stringify(before?.get(user));
    const isLong = now.size > listed;
    const change = {
      join: [...now].filter(isNew).map(([, member]) => member),
      leave: [...(before?.keys() ?? [])].filter((user) => !now.has(user)),
    };
    const list = before && before.size <= listed ? change : this.#present(channel);
    for (const socket of this.#sockets) {
      const follows = before && socket.topics.get(topicKey({ channel }))?.here;
      if (follows) socket.deliver({ type: 'HERE', channel, count: now.size, ...(isLong ? undefined : list) });
    }
  }

  /** What an ACK says of who is in a channel. */
  #present(channel: string): object | undefined {
    const { listed = 100 } = this.#options;
    const users = this.#here.get(channel);
    return users && { here: users.size > listed ? undefined : [...users.values()], count: users.size };
  }

  /**
   * Loses the newest events of a channel that are kept, as a failover to a
   * replica does that lacks them. Who is subscribed is told that events may be
   * missing; who was, and comes back from one of the lost, is not recovered.
   */
  rollback(channel: Channel<C>, events = 1): void {
    this.#log(channel)?.lose(events);
    this.gap(channel);
  }

  /** Forgets what is kept of a channel, as it becomes too old: nobody is told, and who lacks some of it is not recovered. */
  forget(channel: Channel<C>): void {
    this.#log(channel)?.forget();
  }

  /**
   * Forgets what is kept of a call with a key, as it becomes too old: who waits
   * for it, or comes back, gets 410. With `parts` it forgets so many of its
   * oldest parts: who lacks one of them gets 429, or is told from where on it
   * comes.
   */
  forgetCall(uri: Uri<C>, key: string, parts?: number): void {
    const record = this.#records.get(keyOf(uri, key));
    if (parts !== undefined) return record?.lose(parts);
    this.#records.delete(keyOf(uri, key));
    record?.end({ error: { code: 410, message: 'nothing is kept of this call any more' } });
  }

  /** Asks all clients to move to another connection in `after` ms. */
  goAway(after = 0, message = 'deploying'): void {
    for (const socket of this.#sockets) socket.deliver({ type: 'GOAWAY', after, message });
  }

  /** Ends all connections; by default as if the network had failed. */
  disconnect(code = 1006, reason = ''): void {
    for (const socket of this.#sockets) socket.dropAfterAll(code, reason);
  }

  /** Ends all connections at once: what is under way, as with {@link delay}, is lost. */
  cut(): void {
    for (const socket of this.#sockets) socket.drop(1006, '');
  }

  /** What is kept of a channel; undefined: nothing is. */
  #log(channel: string): Log | undefined {
    if (!this.#logs.has(channel)) {
      const rule = Object.entries(this.#options.history ?? {}).find(([name]) =>
        name.endsWith('*') ? channel.startsWith(name.slice(0, -1)) : channel === name,
      );
      this.#logs.set(channel, rule && new Log(rule[1]));
    }
    return this.#logs.get(channel);
  }

  #connect(socket: MockSocket): void {
    if (!this.reachable) return socket.drop(1006, '');
    this.#sockets.add(socket);
    socket.readyState = 1;
    if (this.refusing) return socket.dropAfterAll(this.refusing.code, this.refusing.reason ?? '');
    const { ping = 25_000, limits = {}, auth } = this.#options;
    const session = `mock-session-${++this.#sessions}`;
    const here = this.#here.size > 0 || undefined;
    socket.deliver({ type: 'HELLO', session, node: 'mock-node', ping, limits, here, ...this.#grant(socket, !auth) });
    if (!auth) this.#begin(socket);
  }

  /** The session has its user: subscribes it to what each is subscribed to. */
  #begin(socket: MockSocket): void {
    if (!socket.isNew) return;
    socket.isNew = false;
    for (const topic of this.#made.values()) this.#make(socket, topic);
  }

  /** What HELLO, or the ACK of AUTH, says that a session may use. */
  #grant(socket: MockSocket, isUser: boolean): object {
    const { history, keyed = true } = this.#options;
    socket.mayKey = isUser && !!history;
    socket.mayKeyCalls = isUser && keyed;
    return { keys: socket.mayKey || undefined, keyed: socket.mayKeyCalls || undefined };
  }

  #receive(socket: MockSocket, text: string): void {
    const { message: most = Infinity } = this.#options.limits ?? {};
    if (byteLength(text) > most) return socket.drop(1009, `a message of more than ${most} bytes`);
    const message = JSON.parse(text) as Message;
    const refusal = this.#refusal(socket, message);
    if (refusal) return socket.deliver({ type: 'NACK', for: message.id, error: refusal });
    const ack = (): void => socket.deliver({ type: 'ACK', for: message.id });
    switch (message.type) {
      case 'CALL':
        return message.key === undefined ? void this.#call(socket, message) : this.#join(socket, message);
      case 'CANCEL':
        return socket.calls.get(message.for)?.cancel(message.stop);
      case 'MORE':
        return socket.calls.get(message.for)?.more(message.parts!);
      case 'SUB':
        return this.#subscribe(socket, message);
      case 'UNSB':
        this.#unsubscribe(socket, message);
        return ack();
      case 'PUB': {
        const { channel, args, headers } = message;
        ack();
        if (this.#isRepeated(message)) return;
        this.published.push({ channel, args, headers });
        return this.publish(channel as Channel<C>, args as never, headers);
      }
      case 'AUTH':
        return void this.#auth(socket, message);
    }
  }

  #subscribe(socket: MockSocket, message: Message): void {
    const { id, channel, pattern = false, own = false, since, last, here = false } = message;
    const topic = socket.topics.get(topicKey(message)) ?? new Topic(channel, pattern, own);
    socket.topics.set(topicKey(message), topic);
    topic.byClient ||= !own;
    topic.here = here;
    const log = pattern ? undefined : this.#log(fullName(message));
    const isBack = since !== undefined;
    const missed = isBack ? log?.after(since) : last !== undefined && log?.newest(last as number);
    const present = here ? this.#present(channel) : undefined;
    socket.deliver({ type: 'ACK', for: id, ...log?.top, recovered: isBack ? !!missed : undefined, ...present });
    for (const event of missed || []) socket.deliver(event);
  }

  /** Ends what a SUB has begun: what the server wants, too, goes on. */
  #unsubscribe(socket: MockSocket, message: Message): void {
    const topic = socket.topics.get(topicKey(message));
    if (!topic?.byServer) return void socket.topics.delete(topicKey(message));
    topic.byClient = topic.here = false;
  }

  /** Whether a publication was made before: its key is known. */
  #isRepeated({ channel, key, args }: Message): boolean {
    if (key === undefined || !this.#log(channel)) return false;
    const isKnown = this.#keys.has(keyOf(channel, key));
    this.#keys.set(keyOf(channel, key), argsText(args));
    return isKnown;
  }

  /** Why a request is not taken, if so. */
  #refusal(socket: MockSocket, message: Message): WireError | undefined {
    const { type, uri, channel } = message;
    if (!/^(CALL|CANCEL|MORE|SUB|UNSB|PUB|AUTH|PONG)$/.test(type)) return { code: 400, message: `unknown type ${type}` };
    if (!/^(CALL|SUB|PUB)$/.test(type)) return undefined;
    const name = type === 'CALL' ? uri : channel;
    const refusal = this.#refusals.get(name);
    if (!refusal) return this.#excess(socket, message);
    const { code = 403, message: text = `${name} was refused`, retryAfter, times = Infinity } = refusal;
    if (times > 1) refusal.times = times - 1;
    else this.#refusals.delete(name);
    return { code, message: text, retry_after: retryAfter };
  }

  /** What is wrong with a request, or which limit it exceeds, if so, or that nobody is there to answer it. */
  #excess(socket: MockSocket, message: Message): WireError | undefined {
    const odd = message.type === 'SUB' ? oddWish(socket, message) : message.type === 'PUB' ? this.#oddKey(socket, message) : (oddCall(message) ?? this.#oddJoin(socket, message));
    if (odd) return odd;
    const { calls = Infinity, subscriptions = Infinity, timeout = Infinity } = this.#options.limits ?? {};
    const isNew = message.type === 'SUB' && !message.own && !socket.topics.get(topicKey(message))?.byClient;
    if (isNew && [...socket.topics.values()].filter(({ byClient }) => byClient).length >= subscriptions) return tooMany(subscriptions, 'subscriptions');
    if (message.type !== 'CALL') return undefined;
    if (socket.calls.size >= calls) return tooMany(calls, 'calls without an outcome');
    if ((message.timeout ?? 0) > timeout) return { code: 400, message: `the timeout is more than ${timeout} ms` };
    return this.#handlers.has(message.uri) || this.#records.has(keyOf(message.uri, message.key)) ? undefined : { code: 404, message: `nobody answers ${message.uri}` };
  }

  #oddKey({ mayKey }: MockSocket, { channel, key, again, args }: Message): WireError | undefined {
    if (key === undefined) return undefined;
    if (!isKey(key)) return { code: 400, message: 'a key has 1 to 64 bytes' };
    if (!mayKey) return { code: 403, message: 'a key is for who has signed in' };
    if (again && !this.#log(channel)) return { code: 500, message: 'outcome unknown: the channel has no keys' };
    const known = this.#keys.get(keyOf(channel, key)) ?? argsText(args);
    return known === argsText(args) ? undefined : { code: 409, message: 'the key belongs to another publication' };
  }

  #oddJoin({ mayKeyCalls }: MockSocket, { uri, key, since, args }: Message): WireError | undefined {
    if (key === undefined) return since === undefined ? undefined : { code: 400, message: 'since: not without a key' };
    if (!isKey(key)) return { code: 400, message: 'a key has 1 to 64 bytes' };
    if (!mayKeyCalls) return { code: 403, message: 'a key is for who has signed in' };
    const record = this.#records.get(keyOf(uri, key));
    if (since !== undefined) return record ? undefined : { code: 410, message: 'nothing is kept of this call' };
    return (record?.args ?? argsText(args)) === argsText(args) ? undefined : { code: 409, message: 'the key belongs to a call with other args' };
  }

  async #auth(socket: MockSocket, { id, token }: Message): Promise<void> {
    try {
      const verdict = (await this.#options.auth?.(token)) ?? true;
      if (verdict === false) throw { code: 401, message: 'the token was refused' };
      const expires = typeof verdict === 'number' ? verdict : undefined;
      socket.deliver({ type: 'ACK', for: id, expires, ...this.#grant(socket, true) });
      this.#begin(socket);
    } catch (thrown) {
      socket.deliver({ type: 'NACK', for: id, error: wireError(thrown) });
    }
  }

  async #call(socket: MockSocket, message: Message): Promise<void> {
    const { id, parts } = message;
    const call = new MockCall(parts);
    socket.calls.set(id, call);
    socket.deliver({ type: 'ACK', for: id });
    const outcome = await this.#run(message, call, (n, part) => socket.deliver({ type: 'PART', for: id, n, args: part }));
    socket.deliver({ type: 'RES', for: id, ...outcome });
    socket.calls.delete(id);
  }

  /** Joins a call with a key, or makes it. */
  #join(socket: MockSocket, message: Message): void {
    const { id, uri, key, since, parts, args } = message;
    const known = this.#records.get(keyOf(uri, key));
    // Nobody paces it: who reads slowly gets its parts later.
    const call = new MockCall(parts === undefined ? undefined : Infinity);
    const record = known ?? new CallRecord(argsText(args), call);
    const behind = (since as number | undefined) ?? 0;
    const next = record.firstBehind(behind);
    const from = parts === undefined || next === behind + 1 ? undefined : next;
    socket.deliver({ type: 'ACK', for: id, state: known ? record.state : 'new', from });
    const joined = new Joined(record, next, parts, (type, fields) => {
      if (type === 'RES') socket.calls.delete(id);
      socket.deliver({ type, for: id, ...fields });
    });
    socket.calls.set(id, joined);
    joined.send();
    if (known) return;
    this.#records.set(keyOf(uri, key), record);
    void this.#run(message, call, (_, part) => record.add(part)).then((outcome) => record.end(outcome));
  }

  /** Has a handler answer a call, in parts if it does. */
  async #run({ uri, key, args, headers = {} }: Message, call: MockCall, send: (n: number, part: unknown) => void): Promise<Outcome> {
    const handler = this.#handlers.get(uri)!;
    const { signal } = call;
    const cancelled = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject({ code: 499, message: 'cancelled' }));
    });
    const context = { signal, headers, key: key === undefined ? '' : keyOf(uri, key) };
    const work = call.answer((async () => handler(args, context))(), send);
    try {
      return { args: await Promise.race([work, cancelled]) };
    } catch (thrown) {
      return { error: wireError(thrown) };
    }
  }
}

/** What the application's functions throw, as an error of the protocol. */
function wireError(thrown: unknown): WireError {
  const { code, message = '', data, retryAfter } = (thrown ?? {}) as Partial<WireError & Refusal>;
  // As with a real server, a text that was not made for clients does not get there.
  if (typeof code !== 'number') return { code: 500, message: 'internal error' };
  return { code, message, data, retry_after: retryAfter };
}

/** What is wrong with a SUB, be it what it wants of the past. */
function oddWish({ topics }: MockSocket, message: Message): WireError | undefined {
  const { channel, pattern, own, here, since, last } = message;
  if (channel.startsWith('\0')) return { code: 400, message: 'a channel begins with no zero byte' };
  if (here && (pattern || own)) return { code: 400, message: 'here: of a channel, not of a pattern' };
  if (own && !topics.has(topicKey(message))) return { code: 403, message: `the server has not subscribed this session to ${channel}` };
  if (since === undefined && last === undefined) return undefined;
  if (pattern || (since !== undefined && last !== undefined)) return { code: 400, message: 'since or last, and not of a pattern' };
  return oddCount('last', last);
}

/** What is wrong with what a CALL takes, or says beside its args. */
function oddCall({ parts, headers }: Message): WireError | undefined {
  const reserved = Object.keys(headers ?? {}).find((name) => name.startsWith('@'));
  return reserved ? { code: 400, message: `the header ${reserved} is reserved` } : oddCount('parts', parts);
}

const isKey = (key: string): boolean => key !== '' && byteLength(key) <= 64;

function oddCount(what: string, count: unknown): WireError | undefined {
  const isCount = count === undefined || (Number.isInteger(count) && (count as number) >= 1 && (count as number) <= 1e6);
  return isCount ? undefined : { code: 400, message: `${what} is from 1 to 1,000,000` };
}

const keyOf = (name: string, key: string | undefined): string => JSON.stringify([name, key]);

const argsText = (args: unknown): string => JSON.stringify(args) ?? '';

const tooMany = (most: number, what: string): WireError => ({
  code: 429,
  message: `more than ${most} ${what}`,
  retry_after: 1_000,
});

/** A channel's name, behind a zero byte if it is one of the server's own. */
const fullName = ({ channel, own }: { channel: string; own?: boolean | undefined }): string => (own ? '\0' : '') + channel;

const topicKey = (topic: { channel: string; pattern?: boolean | undefined; own?: boolean | undefined }): string => `${!!topic.pattern} ${fullName(topic)}`;

/** A channel or pattern that a connection is subscribed to. */
class Topic {
  #expression: RegExp | undefined;
  /** Who wants it. */
  byClient = false;
  byServer = false;
  /** The client is told who is there. */
  here = false;

  constructor(
    readonly channel: string,
    readonly pattern: boolean,
    readonly own: boolean,
  ) {
    if (pattern) this.#expression = glob(channel);
  }

  /** The fields that name it in a message. */
  get name(): object {
    return { channel: this.channel, pattern: this.pattern || undefined, own: this.own || undefined };
  }

  /** Whether it brings the events of a channel, by its full name. Those of the server's own no pattern matches. */
  matches(name: string): boolean {
    return this.#expression ? !name.startsWith('\0') && this.#expression.test(name) : name === fullName(this);
  }
}

/** Redis' patterns: `*`, `?`, `[ab]`, `[^ab]`, `[a-z]`, and `\` before a character that stands for itself. */
function glob(pattern: string): RegExp {
  const parts = pattern.match(/\\.|\[(?:\\.|[^\]])*\]|[^]/g) ?? [];
  const source = parts.map((part) => {
    if (part === '*') return '.*';
    if (part === '?') return '.';
    if (part.length > 1 && part.startsWith('[')) return part;
    return part.slice(-1).replace(/[^\w]/g, '\\$&');
  });
  return new RegExp(`^${source.join('')}$`, 's');
}

/** What a {@link MockSocket} tells its server. */
interface ServerEnd {
  connect(socket: MockSocket): void;
  receive(socket: MockSocket, text: string): void;
  gone(socket: MockSocket): void;
  delay(): number;
}

/** Runs it after the present task. Test runners fake queueMicrotask and process.nextTick, but no promises. */
const soon = (run: () => void): void => void Promise.resolve().then(run);

/** A WebSocket whose other end is in the same process. Each direction keeps its order. */
class MockSocket implements WebSocketLike {
  readyState = 0;
  readonly protocol = 'juggler.1';
  onmessage: WebSocketLike['onmessage'] = null;
  onerror: WebSocketLike['onerror'] = null;
  onclose: WebSocketLike['onclose'] = null;

  // The server's end.
  readonly topics = new Map<string, Topic>();
  readonly calls = new Map<string, UnderWay>();
  /** Whether its publications may have keys, and its calls. */
  mayKey = false;
  mayKeyCalls = false;
  /** Its session has no user yet. */
  isNew = true;
  #server: ServerEnd;
  /** Until what the server sent has arrived. */
  #underWay: Promise<void> = Promise.resolve();

  constructor(server: ServerEnd) {
    this.#server = server;
    soon(() => this.readyState === 0 && server.connect(this));
  }

  /** From the client: to the server. */
  send(text: string): void {
    soon(() => this.readyState === 1 && this.#server.receive(this, text));
  }

  /** From the server: to the client. */
  deliver(message: object): void {
    const data = JSON.stringify(message);
    this.#arrive(() => this.readyState === 1 && this.onmessage?.({ data }));
  }

  close(code = 1005, reason = ''): void {
    this.drop(code, reason);
  }

  drop(code: number, reason: string): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    for (const call of this.calls.values()) call.cancel();
    this.#server.gone(this);
    soon(() => this.onclose?.({ code, reason }));
  }

  /** Ends it once what was sent before has arrived. */
  dropAfterAll(code: number, reason: string): void {
    this.#arrive(() => this.drop(code, reason));
  }

  #arrive(run: () => void): void {
    const delay = this.#server.delay();
    const way = delay > 0 ? new Promise<void>((resolve) => void setTimeout(resolve, delay)) : undefined;
    this.#underWay = this.#underWay.then(() => way);
    void this.#underWay.then(run);
  }
}
