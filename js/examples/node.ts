// In Node: calls beside a loop over events. Node before 22 has no WebSocket of
// its own and takes that of the `ws` package.
import { Client, JugglerError } from '@juggler-go/client';
import { WebSocket } from 'ws';
import type { App } from './contract.js';

await using client = new Client<App>('ws://127.0.0.1:8080/', { WebSocket });

try {
  console.log(await client.call('test.reverse', 'olleh', { timeout: 2_000 }));
} catch (error) {
  if (!(error instanceof JugglerError)) throw error;
  console.error(error.code, error.message, error.retryable ? 'try again' : 'do not try again');
}

const messages = client.subscribe('chat.*', { pattern: true });
await messages.ready;
await client.publish('chat.go', { from: 'node', text: 'hello' });
for await (const { channel, args } of messages) {
  console.log(`${channel}: ${args.text}`);
  if (args.text === 'hello') break; // Leaving the loop unsubscribes.
}
