// What the callee needs of a Redis client: pipelined commands of binary
// values, scripts, and the messages of subscribed channels (RESP2).
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createConnection } from 'node:net';

const PATIENCE = 5000; // ms without a byte from the server while a command waits for its reply

/** Loads one of the scripts that juggler itself uses, which may have several pieces. */
export function script(...names) {
  const source = Buffer.concat(names.map((name) => readFileSync(new URL(`../../broker/redis/lua/${name}.lua`, import.meta.url))));
  return { source, sha: createHash('sha1').update(source).digest('hex') };
}

export class Redis {
  #socket;
  #waiting = []; // for replies, which come in the order of the commands
  #unread = Buffer.alloc(0);
  #failure = new Error('the connection was closed');

  /** Connects to redis://[user:password@]host[:port][/database]. */
  constructor(url, { onMessage, onClose }) {
    const { hostname, port, username, password, pathname } = new URL(url);
    this.onMessage = onMessage;
    this.#socket = createConnection({ host: hostname, port: port || 6379, noDelay: true, keepAlive: true });
    this.#socket.on('data', (chunk) => this.#read(chunk));
    this.#socket.on('error', (error) => (this.#failure = error));
    this.#socket.on('timeout', () => this.#socket.destroy(new Error('the server does not answer')));
    this.#socket.on('close', () => {
      for (const { reject } of this.#waiting.splice(0)) reject(this.#failure);
      onClose(this.#failure);
    });
    const refused = (error) => this.#socket.destroy(error);
    const user = decodeURIComponent(username) || 'default';
    if (password) this.send('AUTH', user, decodeURIComponent(password)).catch(refused);
    if (pathname.length > 1) this.send('SELECT', pathname.slice(1)).catch(refused);
  }

  close() {
    this.#socket.destroy();
  }

  /** Sends a command. Its reply has Buffers for strings. */
  send(...words) {
    if (this.#socket.destroyed) return Promise.reject(this.#failure);
    const parts = words.map((word) => (Buffer.isBuffer(word) ? word : Buffer.from(String(word))));
    const frames = parts.flatMap((part) => [Buffer.from(`$${part.length}\r\n`), part, Buffer.from('\r\n')]);
    this.#socket.write(Buffer.concat([Buffer.from(`*${parts.length}\r\n`), ...frames]));
    this.#socket.setTimeout(PATIENCE);
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** Runs a script by its hash, or whole if the server does not know it: then nothing was done yet. */
  run({ sha, source }, keys, args) {
    return this.send('EVALSHA', sha, keys.length, ...keys, ...args).catch((error) => {
      if (!error.message.startsWith('NOSCRIPT')) throw error;
      return this.send('EVAL', source, keys.length, ...keys, ...args);
    });
  }

  #read(chunk) {
    this.#unread = Buffer.concat([this.#unread, chunk]);
    for (let parsed; (parsed = parse(this.#unread, 0)); this.#unread = this.#unread.subarray(parsed.end)) {
      const { value } = parsed;
      const next = this.#waiting.shift();
      if (this.#waiting.length === 0) this.#socket.setTimeout(0);
      if (!next) this.onMessage(value);
      else if (value instanceof Error) next.reject(value);
      else next.resolve(value);
    }
  }
}

/** Parses the reply that begins at start; undefined: it is not complete. */
function parse(buffer, start) {
  const eol = buffer.indexOf('\r\n', start);
  if (eol < 0) return undefined;
  const line = buffer.toString('utf8', start + 1, eol);
  let end = eol + 2;
  switch (String.fromCharCode(buffer[start])) {
    case '-':
      return { value: new Error(line), end };
    case ':':
      return { value: Number(line), end };
    case '$': {
      if (line === '-1') return { value: null, end };
      const length = Number(line);
      if (buffer.length < end + length + 2) return undefined;
      return { value: buffer.subarray(end, end + length), end: end + length + 2 };
    }
    case '*': {
      if (line === '-1') return { value: null, end };
      const value = [];
      for (let n = Number(line); n > 0; n--) {
        const element = parse(buffer, end);
        if (!element) return undefined;
        value.push(element.value);
        end = element.end;
      }
      return { value, end };
    }
    default:
      return { value: line, end }; // '+', a status
  }
}
