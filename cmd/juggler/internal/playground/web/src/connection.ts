import { Client, type State } from '@juggler-go/client';
import { computed, signal } from '@preact/signals';
import type { Frames } from './frames.js';
import { translatingSocket } from './juggler0.js';
import { webSocketURL } from './settings.js';
import { recordingSocket } from './socket.js';

export const protocols = ['juggler.1', 'juggler.0'] as const;

/** The one connection of the page. */
export class Connection {
  readonly url = signal(webSocketURL());
  readonly token = signal('');
  readonly protocol = signal<string>('juggler.1');
  readonly state = signal<State>({ status: 'closed' });
  /** What the form has. */
  private wanted = computed(() => JSON.stringify([this.url.value, this.token.value, this.protocol.value]));
  /** What the client was made with. */
  private made = signal('');
  /** Whether it is connected, or about to be, as the form has it. */
  readonly current = computed(() => this.made.value === this.wanted.value && /^(open|connecting)$/.test(this.state.value.status));
  /** Why the page may not connect to the URL; undefined: it may. */
  readonly refusal = computed(() => refusalOf(this.url.value));
  /** Is told when what was made with the client before has come to its end. */
  onReplaced: () => void = () => {};

  private client: Client | undefined;

  constructor(private readonly frames: Frames) {}

  /** Connects as the form has it, if it is not connected so. A client that was closed goes on with its subscriptions. */
  open(): Client {
    if (!this.client || this.made.value !== this.wanted.value) this.replace();
    if (!this.current.value) this.client!.connect();
    return this.client!;
  }

  close(): void {
    void this.client?.close();
  }

  private replace(): void {
    if (this.client) {
      void this.client.close();
      this.onReplaced();
    }
    const Recording = recordingSocket(this.frames);
    const zero = this.protocol.value === 'juggler.0';
    const token = zero ? '' : this.token.value; // that protocol has no AUTH
    const client = new Client(this.url.value, {
      WebSocket: zero ? translatingSocket(Recording) : Recording,
      logger: () => {}, // the timeline tells
      ...(token && { auth: () => token }),
    });
    client.on('state', (state) => {
      if (client === this.client) this.state.value = state;
    });
    this.client = client;
    this.made.value = this.wanted.value;
    this.state.value = client.state;
  }
}

function refusalOf(url: string): string | undefined {
  const own = new URL(webSocketURL());
  try {
    const { protocol, host } = new URL(url);
    return protocol === own.protocol && host === own.host ? undefined : `this page may connect to ${own.protocol}//${own.host} only`;
  } catch {
    return `want ${own.href}, or another path there`;
  }
}
