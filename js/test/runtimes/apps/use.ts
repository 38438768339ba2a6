import { Client, JugglerError, type State } from '@juggler-go/client';
import { useCall } from '@juggler-go/client/react';
import { MockServer } from '@juggler-go/client/testing';

interface App {
  calls: { add: (args: [number, number]) => number };
  channels: { news: { title: string } };
}
const client = new Client<App>('ws://x', { WebSocket: new MockServer().WebSocket });
export const state: State = client.state;
export const sum: Promise<number> = client.call('add', [1, 2]);
client.subscribe('news', ({ args }) => args.title);
export { JugglerError, useCall };
