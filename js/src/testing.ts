/**
 * A juggler server in memory, to test applications without a network: calls,
 * events, refusals, lost connections. Works with fake timers.
 *
 * @packageDocumentation
 */
import type { AnyContract, Args, Channel, Contract, Result, Uri, WebSocketConstructor, WebSocketLike } from './types.js';

/** What a handler of {@link MockServer.handle} gets beside the args. */
export interface CallContext {
  /** Aborted when the client cancels the call, or is gone. */
  readonly signal: AbortSignal;
  readonly headers: Readonly<Record<string, string>>;
}

/** A publication that the server got from a client. */
export interface Publication<T = unknown> {
  readonly channel: string;
  readonly args: T;
  readonly headers: Readonly<Record<string, string>> | undefined;
}

/** Options of a {@link MockServer}. All times are milliseconds. */
export interface MockServerOptions {
  /** How long the server may be silent before it sends PING. Default 25,000; it sends none, as time may be faked. */
  ping?: number;
  /** Decides about a token: false refuses it; a number accepts it for so long. Default: any token, for ever. */
  auth?: (token: string) => boolean | number;
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
  token: string;
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

  #options: MockServerOptions;
  #handlers = new Map<string, Handler>();
  #sockets = new Set<MockSocket>();
  #publications = 0;

  constructor(options: MockServerOptions = {}) {
    this.#options = options;
    const connect = (socket: MockSocket): void => this.#connect(socket);
    this.WebSocket = class extends MockSocket {
      constructor() {
        super(connect);
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
   * it throws becomes the error: its `code` (else 500), `message` and `data`.
   */
  handle<U extends Uri<C>>(
    uri: U,
    handler: (args: Args<C, U>, context: CallContext) => Result<C, U> | Promise<Result<C, U>>,
  ): this {
    this.#handlers.set(uri, handler as Handler);
    return this;
  }

  /** Sends an event to all who are subscribed. */
  publish<N extends Channel<C>>(channel: N, args: C['channels'][N], headers?: Record<string, string>): void {
    const id = String(++this.#publications).padStart(26, '0');
    for (const socket of this.#sockets) {
      for (const topic of socket.topics.values()) {
        if (!topic.matches(channel)) continue;
        const pattern = topic.pattern ? topic.channel : undefined;
        socket.deliver({ type: 'EVNT', id, channel, pattern, args, headers });
      }
    }
  }

  /** Tells all who are subscribed to a channel or pattern that they may have missed events. */
  gap(channel: string, pattern = false): void {
    for (const socket of this.#sockets) {
      if (socket.topics.has(`${pattern} ${channel}`)) {
        socket.deliver({ type: 'GAP', channel, pattern: pattern || undefined });
      }
    }
  }

  /** Asks all clients to move to another connection in `after` ms. */
  goAway(after = 0, message = 'deploying'): void {
    for (const socket of this.#sockets) socket.deliver({ type: 'GOAWAY', after, message });
  }

  /** Ends all connections; by default as if the network had failed. */
  disconnect(code = 1006, reason = ''): void {
    // After what was sent before.
    for (const socket of this.#sockets) queueMicrotask(() => socket.drop(code, reason));
  }

  #connect(socket: MockSocket): void {
    if (!this.reachable) return socket.drop(1006, '');
    this.#sockets.add(socket);
    socket.onreceive = (message) => this.#receive(socket, message);
    socket.ongone = () => this.#sockets.delete(socket);
    socket.open();
    const { ping = 25_000 } = this.#options;
    socket.deliver({ type: 'HELLO', session: 'mock-session', node: 'mock-node', ping, limits: {} });
  }

  #receive(socket: MockSocket, message: Message): void {
    const ack = (more = {}): void => socket.deliver({ type: 'ACK', for: message.id, ...more });
    switch (message.type) {
      case 'CALL':
        return void this.#call(socket, message);
      case 'CANCEL':
        return socket.calls.get(message.for)?.abort();
      case 'SUB':
        socket.topics.set(`${!!message.pattern} ${message.channel}`, new Topic(message.channel, !!message.pattern));
        return ack();
      case 'UNSB':
        socket.topics.delete(`${!!message.pattern} ${message.channel}`);
        return ack();
      case 'PUB': {
        const { channel, args, headers } = message;
        this.published.push({ channel, args, headers });
        ack();
        return this.publish(channel as Channel<C>, args as never, headers);
      }
      case 'AUTH': {
        const verdict = this.#options.auth?.(message.token) ?? true;
        if (verdict === false) return this.#nack(socket, message, 401, 'the token was refused');
        return ack(typeof verdict === 'number' ? { expires: verdict } : {});
      }
      case 'PONG':
        return;
      default:
        return this.#nack(socket, message, 400, `unknown type ${message.type}`);
    }
  }

  #nack(socket: MockSocket, message: Message, code: number, text: string): void {
    socket.deliver({ type: 'NACK', for: message.id, error: { code, message: text } });
  }

  async #call(socket: MockSocket, { id, uri, args, headers = {} }: Message): Promise<void> {
    const handler = this.#handlers.get(uri);
    if (!handler) return this.#nack(socket, { id } as Message, 404, `nobody answers ${uri}`);
    const controller = new AbortController();
    const { signal } = controller;
    socket.calls.set(id, controller);
    socket.deliver({ type: 'ACK', for: id });
    const cancelled = new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject({ code: 499, message: 'cancelled' }));
    });
    const work = (async () => handler(args, { signal, headers }))();
    try {
      socket.deliver({ type: 'RES', for: id, args: await Promise.race([work, cancelled]) });
    } catch (thrown) {
      const { code = 500, message = String(thrown), data } = (thrown ?? {}) as { code?: number; message?: string; data?: unknown };
      socket.deliver({ type: 'RES', for: id, error: { code, message, data } });
    }
    socket.calls.delete(id);
  }
}

/** A channel or pattern that a connection is subscribed to. */
class Topic {
  #expression: RegExp | undefined;

  constructor(
    readonly channel: string,
    readonly pattern: boolean,
  ) {
    if (pattern) this.#expression = glob(channel);
  }

  matches(channel: string): boolean {
    return this.#expression?.test(channel) ?? channel === this.channel;
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

/** A WebSocket whose other end is in the same process. Each direction keeps its order and takes a microtask. */
class MockSocket implements WebSocketLike {
  readyState = 0;
  readonly protocol = 'juggler.1';
  onmessage: WebSocketLike['onmessage'] = null;
  onerror: WebSocketLike['onerror'] = null;
  onclose: WebSocketLike['onclose'] = null;

  // The server's end.
  onreceive: (message: Message) => void = () => {};
  ongone: () => void = () => {};
  readonly topics = new Map<string, Topic>();
  readonly calls = new Map<string, AbortController>();

  constructor(connect: (socket: MockSocket) => void) {
    queueMicrotask(() => this.readyState === 0 && connect(this));
  }

  open(): void {
    this.readyState = 1;
  }

  /** From the client: to the server. */
  send(text: string): void {
    queueMicrotask(() => this.readyState === 1 && this.onreceive(JSON.parse(text) as Message));
  }

  /** From the server: to the client. */
  deliver(message: object): void {
    const data = JSON.stringify(message);
    queueMicrotask(() => this.readyState === 1 && this.onmessage?.({ data }));
  }

  close(code = 1005, reason = ''): void {
    this.drop(code, reason);
  }

  drop(code: number, reason: string): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    for (const call of this.calls.values()) call.abort();
    this.ongone();
    queueMicrotask(() => this.onclose?.({ code, reason }));
  }
}
