// MockServer under the fake timers of Jest, which fake queueMicrotask and process.nextTick, too.
const { Client } = require('@juggler-go/client');
const { MockServer } = require('@juggler-go/client/testing');

const flush = async () => {
  for (let turn = 0; turn < 50; turn++) await null;
};

describe.each([
  ['modern', {}],
  ['legacy', { legacyFakeTimers: true }],
])('with %s fake timers', (_, options) => {
  let server;
  let client;

  beforeEach(() => {
    jest.useFakeTimers(options);
    server = new MockServer().handle('add', (n) => n + 1).handle('slow', () => new Promise(() => {}));
    client = new Client('ws://mock', { WebSocket: server.WebSocket, logger() {} });
  });

  afterEach(async () => {
    await client.close();
    jest.useRealTimers();
  });

  test('a call needs no time', async () => {
    expect(await client.call('add', 1)).toBe(2);
  });

  test('events come, and a subscription that ends leaves the server', async () => {
    const handler = jest.fn();
    const subscription = client.subscribe('news', handler);
    await subscription.ready;
    server.publish('news', 'hello');
    await flush();
    expect(handler.mock.calls.map(([{ args }]) => args)).toEqual(['hello']);
    subscription.unsubscribe();
    await flush();
    expect(server.subscriptions).toEqual([]);
  });

  test('the timeout of a call passes when the timers are advanced', async () => {
    const failure = client.call('slow', null, { timeout: 5_000 }).catch(({ code }) => code);
    await flush();
    jest.advanceTimersByTime(5_001);
    expect(await failure).toBe(408);
  });

  test('a connection that was lost comes back after its pause', async () => {
    await client.call('add', 1);
    server.disconnect();
    await flush();
    expect(client.state.status).toBe('waiting');
    jest.advanceTimersByTime(30_000);
    expect(await client.call('add', 2)).toBe(3);
  });

  test('what the server delays comes when the timers are advanced', async () => {
    await client.call('add', 1);
    server.delay = 200;
    const answer = client.call('add', 2);
    await flush();
    jest.advanceTimersByTime(200);
    await flush();
    jest.advanceTimersByTime(200);
    expect(await answer).toBe(3);
  });
});
