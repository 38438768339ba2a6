// An application that uses all entries of the package, for bundlers and for
// engines that may be old; prints what came out as JSON.
import { Client, JugglerError } from '@juggler-go/client';
import { useCall } from '@juggler-go/client/react';
import { MockServer } from '@juggler-go/client/testing';

const print = globalThis.print || console.log;

async function main() {
  const server = new MockServer()
    .handle('add', (n) => n + 1)
    .handle('bad', () => {
      throw { code: 422, message: 'no', data: { field: 1 } };
    });
  const client = new Client('ws://mock', { WebSocket: server.WebSocket, logger() {} });
  const got = [];
  client.subscribe('news.*', { pattern: true }, ({ args }) => got.push(args));
  const sum = await client.call('add', 1);
  await client.publish('news.go', { title: 'Hello' });
  const error = await client.call('bad').catch((reason) => reason);
  await client.close();
  const failure = [error instanceof JugglerError, error instanceof Error, error.name, error.code, error.data];
  return { sum, got, failure, hook: typeof useCall, state: client.state.status };
}

main().then(
  (result) => print(JSON.stringify(result)),
  (error) => print(`failed: ${error} ${error.stack}`),
);
