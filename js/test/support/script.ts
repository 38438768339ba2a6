import type { ClientOptions, WebSocketConstructor, WebSocketLike } from '../../src/index.js';

export type Message = Record<string, any>;

/** The server's end of one connection: the test says, step by step, what it does. */
export class ScriptedSocket implements WebSocketLike {
  readyState = 0;
  onmessage: WebSocketLike['onmessage'] = null;
  onerror: WebSocketLike['onerror'] = null;
  onclose: WebSocketLike['onclose'] = null;
  /** What the client sent. */
  readonly received: Message[] = [];
  /** How the client closed it. */
  closedWith: { code: number | undefined; reason: string | undefined } | undefined;

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {}

  send(text: string): void {
    if (this.readyState !== 1) throw new Error('the client sent on a socket that is not open');
    this.received.push(JSON.parse(text) as Message);
  }

  close(code?: number, reason?: string): void {
    this.closedWith = { code, reason };
    this.readyState = 3;
    this.onclose?.({ code: code ?? 1005, reason: reason ?? '' });
  }

  /** Completes the handshake and says HELLO. */
  hello(more: Message = {}): this {
    this.readyState = 1;
    return this.say({ type: 'HELLO', session: 's1', node: 'n1', ping: 25_000, limits: {}, ...more });
  }

  /** Sends a message, or any text. */
  say(message: Message | string): this {
    this.onmessage?.({ data: typeof message === 'string' ? message : JSON.stringify(message) });
    return this;
  }

  /** Acknowledges all requests of a type that were received so far. */
  ack(type: string): this {
    for (const message of this.all(type)) this.say({ type: 'ACK', for: message['id'] });
    return this;
  }

  /** Closes the connection from the server's side. */
  drop(code = 1006, reason = ''): void {
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }

  all(type: string): Message[] {
    return this.received.filter((message) => message['type'] === type);
  }

  /** The last message of a type that the client sent. */
  last(type: string): Message {
    const message = this.all(type).at(-1);
    if (!message) throw new Error(`the client sent no ${type}, only ${JSON.stringify(this.received)}`);
    return message;
  }
}

/** A network in which every connection is played by the test. */
export class Script {
  readonly sockets: ScriptedSocket[] = [];
  readonly logged: [level: string, message: string][] = [];
  readonly options: ClientOptions;

  constructor() {
    const { sockets } = this;
    this.options = {
      WebSocket: class extends ScriptedSocket {
        constructor(url: string, protocols: string[]) {
          super(url, protocols);
          sockets.push(this);
        }
      } satisfies WebSocketConstructor,
      logger: (level, message) => void this.logged.push([level, message]),
    };
  }

  /** The newest connection. */
  get socket(): ScriptedSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error('the client has not connected');
    return socket;
  }
}
