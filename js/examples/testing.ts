// Testing an application without a server, with whatever runs its tests.
import assert from 'node:assert/strict';
import test from 'node:test';
import { Client } from '@juggler-go/client';
import { MockServer } from '@juggler-go/client/testing';
import type { App } from './contract.js';

test('a message is answered backwards', async () => {
  const server = new MockServer<App>().handle('test.reverse', (text) => [...text].reverse().join(''));
  await using client = new Client<App>('ws://mock', { WebSocket: server.WebSocket });

  const messages = client.subscribe('chat.*', { pattern: true });
  await messages.ready;
  server.publish('chat.go', { from: 'test', text: 'olleh' });
  const { value } = await messages.next();
  assert.equal(await client.call('test.reverse', value.args.text), 'hello');
});
