import type { WebSocketConstructor } from '@juggler-go/client';
import { Tap, type Frames } from './frames.js';

/** A WebSocket that tells the timeline what goes over it. */
export function recordingSocket(frames: Frames): WebSocketConstructor {
  return class extends WebSocket {
    private tap = new Tap(frames);

    constructor(url: string, protocols: string[]) {
      super(url, protocols);
      // Before the client's own: the timeline has a message before the client answers it.
      this.addEventListener('open', () => this.tap.opened(url.replace(/\?.*/, ''), this.protocol)); // a query may have a token
      this.addEventListener('message', ({ data }) => this.tap.received(String(data)));
      this.addEventListener('close', ({ code, reason }) => this.tap.closed(code, reason));
    }

    override send(text: string): void {
      this.tap.sent(text);
      super.send(text);
    }
  };
}
