// The older protocol, for the client of the newer one: a socket that translates.
import type { WebSocketConstructor, WebSocketLike } from '@juggler-go/client';

/** A message of juggler.1 as far as juggler.0 can say it. */
export interface Message {
  readonly type: string;
  readonly id?: string;
  readonly for?: string;
  readonly uri?: string;
  readonly channel?: string;
  readonly pattern?: boolean | string;
  readonly args?: unknown;
  /** In ms. */
  readonly timeout?: number;
  readonly error?: { readonly code: number; readonly message: string };
}

/** The numbers that juggler.0 has for the types. */
const numbers: Readonly<Record<string, number>> = { CALL: 1, PUB: 2, SUB: 3, UNSB: 4, NACK: 7, ACK: 8, RES: 9, EVNT: 10 };
const names = Object.fromEntries(Object.entries(numbers).map(([name, number]) => [number, name]));

interface Wire {
  readonly meta: { readonly type: number; readonly uuid?: string };
  readonly payload: {
    readonly for?: string;
    readonly uri?: string;
    readonly channel?: string;
    readonly pattern?: boolean | string;
    readonly args?: unknown;
    readonly code?: number;
    readonly message?: string;
  };
}

/** Whether what came is of juggler.0. */
export const isWire = (message: object): message is Wire => 'meta' in message && 'payload' in message;

/** What a request is in juggler.0; undefined: it has no such message. */
export function toWire({ type, uri, channel, pattern, args, timeout = 0 }: Message, uuid: string): object | undefined {
  const meta = { type: numbers[type], uuid };
  switch (type) {
    case 'CALL':
      return { meta, payload: { uri, timeout: timeout * 1e6, args } };
    case 'PUB':
      return { meta, payload: { channel, args } };
    case 'SUB':
    case 'UNSB':
      return { meta, payload: { channel, pattern: !!pattern } };
    default:
      return undefined;
  }
}

/** What a message of juggler.0 is in juggler.1, with the uuids as they were. */
export function fromWire({ meta, payload }: Wire): Message {
  const { for: answers, code = 0, message = '', ...about } = payload;
  const type = names[meta.type] ?? '?';
  const id = (type === 'EVNT' ? answers : meta.uuid) ?? '';
  if (type === 'NACK') return { ...about, type, id, for: answers ?? '', error: { code, message } };
  // It has no other form for an error of a callee.
  const failure = type === 'RES' ? (about.args as { error?: { message?: unknown } } | null | undefined)?.error?.message : undefined;
  if (typeof failure === 'string') return { ...about, type, id, for: answers ?? '', error: { code: 500, message: failure } };
  return { ...about, type, id, ...(answers !== undefined && { for: answers }) };
}

/** A socket that speaks juggler.0 by one of `Inner`, to a client that speaks juggler.1. */
export function translatingSocket(Inner: WebSocketConstructor): WebSocketConstructor {
  return class implements WebSocketLike {
    onopen: WebSocketLike['onmessage'] = null;
    onmessage: WebSocketLike['onmessage'] = null;
    onerror: WebSocketLike['onmessage'] = null;
    onclose: WebSocketLike['onmessage'] = null;
    private inner: WebSocketLike;
    /** What the uuids of this connection begin with: ids of publications must be unique. They end in the client's own. */
    private prefix = [...crypto.getRandomValues(new Uint16Array(5))].map((n) => n.toString(16).padStart(4, '0')).join('').replace(/^(.{8})(.{4})(.{4}).*/, '$1-$2-$3-8000-');

    constructor(url: string, _protocols: string[]) {
      this.inner = new Inner(url, ['juggler.0']);
      this.inner.onopen = (event) => {
        this.onopen?.(event);
        this.deliver({ type: 'HELLO', limits: {} });
      };
      this.inner.onmessage = ({ data }: { data: string }) => this.receive(fromWire(JSON.parse(data) as Wire));
      this.inner.onerror = (event) => this.onerror?.(event);
      this.inner.onclose = (event) => this.onclose?.(event);
    }

    get readyState(): number {
      return this.inner.readyState;
    }

    get protocol(): string | null {
      return this.inner.protocol ?? null;
    }

    send(text: string): void {
      const message = JSON.parse(text) as Message;
      const translated = toWire(message, this.prefix + (message.id ?? '').padStart(12, '0'));
      if (translated) this.inner.send(JSON.stringify(translated));
      // The client asks whether the server is there; WebSocket's own pings find out.
      else if (message.id) queueMicrotask(() => this.deliver({ type: 'NACK', for: message.id, error: { code: 400, message: 'juggler.0 has no such message' } }));
    }

    close(code?: number, reason?: string): void {
      this.inner.close(code, reason);
    }

    private receive(message: Message): void {
      const own = message.for?.startsWith(this.prefix) ? { for: `${Number(message.for.slice(this.prefix.length))}` } : {};
      this.deliver({ ...message, ...own });
    }

    private deliver(message: object): void {
      this.onmessage?.({ data: JSON.stringify(message) });
    }
  };
}
