// What stands between a client and its server, or in the server's place: each
// fails in its own way.
import { createServer as createHttpServer, type IncomingMessage } from 'node:http';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { once } from 'node:events';
import { WebSocketServer, type ServerOptions, type WebSocket } from 'ws';

const helloWith = (ping: number): string => JSON.stringify({ type: 'HELLO', session: 's', node: 'n', ping, limits: {} });
const HELLO = helloWith(25_000);

/** A way to fail, and the address that does so. */
export interface Failure {
  name: string;
  url: string;
  /** Nothing tells that it fails but the time. */
  silent: boolean;
}

/** Answers a plain GET, as pages send one to find out whether anybody does. */
const http = () => createHttpServer((_, response) => response.end());

/** Answers the upgrade with this text, and ends. */
const answer = (text: string) => () =>
  http().on('upgrade', (_: IncomingMessage, socket: Duplex) => socket.end(text.replaceAll('\n', '\r\n')));

/** Whatever comes in, this happens to the connection. */
const tcp = (onConnection: (socket: Socket) => void) => () => createServer(onConnection);

/** Completes the handshake; then this happens. */
const upgrade =
  (onConnection: (socket: WebSocket) => void, options: ServerOptions = {}) =>
  () => {
    const server = http();
    new WebSocketServer({ server, ...options }).on('connection', onConnection);
    return server;
  };

/** Says HELLO; then this happens to the connection. */
const hello = (then: (socket: WebSocket & { _socket: Socket }) => void, text = HELLO) =>
  upgrade((socket) => socket.send(text, () => then(socket as WebSocket & { _socket: Socket })));

const noProtocol: ServerOptions = { handleProtocols: () => false };

/** The kinds of failure by name. */
const kinds: Record<string, () => Server> = {
  'resets the handshake': tcp((socket) => socket.once('data', () => socket.resetAndDestroy())),
  'ends in the handshake': tcp((socket) => socket.once('data', () => socket.end())),
  'never answers': tcp((socket) => socket.resume()),
  'stops within the answer': tcp((socket) => socket.once('data', () => socket.write('HTTP/1.1 101 Switching Protocols\r\n'))),
  'is no HTTP server': tcp((socket) => socket.resume().end('220 mail ESMTP\r\n')),
  'answers 200 and a page': answer('HTTP/1.1 200 OK\nContent-Length: 6\n\nlogin!'),
  'redirects': answer('HTTP/1.1 302 Found\nLocation: http://127.0.0.1:1/\nContent-Length: 0\n\n'),
  'answers 403': answer('HTTP/1.1 403 Forbidden\nContent-Length: 0\n\n'),
  'answers 429': answer('HTTP/1.1 429 Too Many Requests\nRetry-After: 3600\nContent-Length: 0\n\n'),
  'answers 502': answer('HTTP/1.1 502 Bad Gateway\nContent-Length: 0\n\n'),
  'upgrades with a wrong key': answer(
    'HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: x\nSec-WebSocket-Protocol: juggler.1\n\n',
  ),
  'agrees on no subprotocol': upgrade(() => {}, noProtocol),
  'agrees on another subprotocol': upgrade(() => {}, { handleProtocols: () => 'chat' }),
  'sends a page in a frame': upgrade((socket) => socket.send('<html>')),
  'sends a binary frame': upgrade((socket) => socket.send(Buffer.from(HELLO))),
  'breaks the framing': hello(({ _socket }) => _socket.write(Buffer.from([0xf1, 0x01, 0x41]))),
  'resets the connection': hello(({ _socket }) => _socket.resetAndDestroy()),
  'ends the connection': hello(({ _socket }) => _socket.end()),
  'closes, and leaves the connection open': hello(({ _socket }) => {
    _socket.removeAllListeners('data').resume();
    _socket.write(Buffer.from([0x88, 0x02, 0x03, 0xe9]));
  }, helloWith(1_000)), // The silence tells.
  'closes without a code': hello((socket) => socket.close()),
};
/** Codes with which proxies close: none is juggler's word on this client. */
for (const code of [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 3000, 4000]) {
  kinds[`closes with ${code}`] = hello((socket) => socket.close(code, 'idle'));
}

const silent = ['never answers', 'stops within the answer'];

/** All the failures, each on a port of its own. */
export class Failures {
  readonly list: Failure[] = [];
  #servers: Server[] = [];
  #sockets = new Set<Socket>();

  async start(): Promise<this> {
    for (const [name, make] of Object.entries(kinds)) {
      const server = make();
      server.on('connection', (socket: Socket) => {
        this.#sockets.add(socket.on('error', () => {}));
      });
      this.#add(name, `ws://127.0.0.1:${await listen(server)}/`);
      this.#servers.push(server);
    }
    const closed = createServer();
    const port = await listen(closed);
    closed.close();
    this.#add('is not there', `ws://127.0.0.1:${port}/`);
    const plain = this.list.find(({ name }) => name === 'answers 200 and a page')!;
    this.#add('speaks no TLS', plain.url.replace('ws:', 'wss:'));
    return this;
  }

  #add(name: string, url: string): void {
    this.list.push({ name, url, silent: silent.includes(name) });
  }

  stop(): void {
    for (const server of this.#servers) server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}
