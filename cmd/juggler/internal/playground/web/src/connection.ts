import { Client, type State } from '@juggler-go/client';
import { signal } from '@preact/signals';
import type { Frames } from './frames.js';
import { webSocketURL } from './settings.js';
import { recordingSocket } from './socket.js';

/** The one connection of the page. */
export class Connection {
  readonly url = signal(webSocketURL());
  readonly token = signal('');
  readonly state = signal<State>({ status: 'closed' });
  /** Is told when what was made with the client before has come to its end. */
  onReplaced: () => void = () => {};

  private client: Client | undefined;
  private made = '';

  constructor(private readonly frames: Frames) {}

  /** Why the page may not connect to the URL; undefined: it may. */
  get refusal(): string | undefined {
    const own = new URL(webSocketURL());
    try {
      const { protocol, host } = new URL(this.url.value);
      return protocol === own.protocol && host === own.host ? undefined : `this page may connect to ${own.protocol}//${own.host} only`;
    } catch {
      return `want ${own.href}, or another path there`;
    }
  }

  /** Connects, if it is not connected already with what the form has. A client that was closed goes on with its subscriptions. */
  open(): Client {
    const url = this.url.value;
    const token = this.token.value;
    const wanted = JSON.stringify([url, token]);
    if (!this.client || wanted !== this.made) {
      void this.client?.close();
      if (this.client) this.onReplaced();
      const client = new Client(url, {
        WebSocket: recordingSocket(this.frames),
        logger: () => {}, // the timeline tells
        ...(token && { auth: () => token }),
      });
      this.client = client;
      this.made = wanted;
      client.on('state', (state) => {
        if (client === this.client) this.state.value = state;
      });
    }
    if (this.state.value.status === 'closed' || this.state.value.status === 'waiting') this.client.connect();
    return this.client;
  }

  close(): void {
    void this.client?.close();
  }
}
