const { Client } = require('@juggler-go/client');
const { useCall } = require('@juggler-go/client/react');
const { MockServer } = require('@juggler-go/client/testing');

test('a call', async () => {
  const server = new MockServer().handle('add', (n) => n + 1);
  const client = new Client('ws://mock', { WebSocket: server.WebSocket });
  expect(await client.call('add', 1)).toBe(2);
  await client.close();
});

test('the hooks', () => expect(typeof useCall).toBe('function'));
