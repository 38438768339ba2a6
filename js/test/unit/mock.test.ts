// The mock server, as an application's tests use it.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, JugglerError } from '../../src/index.js';
import { MockServer, type MockServerOptions } from '../../src/testing.js';

interface App {
  calls: { add: (args: [number, number]) => number; fail: () => void; wait: () => void; who: () => string };
  channels: { [channel: string]: number };
}

let server: MockServer<App>;
let client: Client<App>;

function start(options: MockServerOptions = {}, auth?: () => string): void {
  server = new MockServer<App>(options);
  client = new Client<App>('ws://mock', { WebSocket: server.WebSocket, logger: () => {}, ...(auth && { auth }) });
}

beforeEach(() => {
  vi.useFakeTimers();
  start();
});

afterEach(() => {
  void client.close();
  vi.useRealTimers();
});

describe('calls', () => {
  it('are answered by handlers', async () => {
    server.handle('add', ([a, b]) => a + b).handle('who', async (_, { headers }) => headers['user'] ?? 'nobody');
    expect(await client.call('add', [1, 2])).toBe(3);
    expect(await client.call('who', undefined, { headers: { user: 'u' } })).toBe('u');
  });

  it('fail with what the handler throws', async () => {
    server.handle('fail', () => {
      throw new JugglerError(422, 'no', 'failed', { data: [1] });
    });
    await expect(client.call('fail')).rejects.toMatchObject({ code: 422, message: 'no', data: [1] });
    server.handle('fail', () => Promise.reject(new Error('oops')));
    await expect(client.call('fail')).rejects.toMatchObject({ code: 500, message: 'oops' });
  });

  it.each([null, undefined, 'text'])('fail with 500 where %s is thrown', async (thrown) => {
    server.handle('fail', () => Promise.reject(thrown));
    await expect(client.call('fail')).rejects.toMatchObject({ code: 500, message: String(thrown) });
  });

  it('fail with 404 without a handler', async () => {
    await expect(client.call('add', [1, 2])).rejects.toMatchObject({ code: 404 });
  });

  it('are cancelled', async () => {
    const aborted = vi.fn();
    server.handle('wait', (_, { signal }) => new Promise(() => signal.addEventListener('abort', aborted)));
    const controller = new AbortController();
    const call = client.call('wait', undefined, { signal: controller.signal });
    call.catch(() => {});
    await vi.advanceTimersByTimeAsync(0);
    controller.abort();
    await expect(call).rejects.toThrow();
    expect(aborted).toHaveBeenCalledTimes(1);
  });
});

describe('events', () => {
  it('reach whom they should', async () => {
    const got: string[] = [];
    const subs = [
      client.subscribe('a.b', (e) => got.push(`exact ${e.args}`)),
      client.subscribe('a.*', { pattern: true }, (e) => got.push(`${e.pattern} ${e.args}`)),
      client.subscribe('b', () => got.push('never')),
    ];
    await Promise.all(subs.map((sub) => sub.ready));
    expect(server.subscriptions).toEqual(['a.b', 'a.*', 'b']);
    server.publish('a.b', 1);
    await client.publish('a.c', 2, { headers: { x: 'y' } });
    await vi.advanceTimersByTimeAsync(0);
    expect(got).toEqual(['exact 1', 'a.* 1', 'a.* 2']);
    expect(server.published).toEqual([{ channel: 'a.c', args: 2, headers: { x: 'y' } }]);
    subs[0]!.unsubscribe();
    await vi.advanceTimersByTimeAsync(0);
    expect(server.subscriptions).toEqual(['a.*', 'b']);
  });

  it.each([
    ['*', 'any.thing', true],
    ['h?llo', 'hello', true],
    ['h?llo', 'hllo', false],
    ['h[ae]llo', 'hallo', true],
    ['h[^e]llo', 'hello', false],
    ['h[a-b]llo', 'hbllo', true],
    ['a.b', 'axb', false],
    ['a\\*', 'a*', true],
    ['a\\*', 'ab', false],
    ['a+(b)', 'a+(b)', true],
    ['news.*', 'news.\n', true],
  ])('the pattern %j matches %j: %s', async (pattern, channel, matches) => {
    const handler = vi.fn();
    await client.subscribe(pattern, { pattern: true }, handler).ready;
    server.publish(channel, 1);
    await vi.advanceTimersByTimeAsync(0);
    expect(handler).toHaveBeenCalledTimes(matches ? 1 : 0);
  });

  it('leave gaps when told to, and after a reconnection', async () => {
    const onGap = vi.fn();
    await client.subscribe('a', { onGap }, () => {}).ready;
    server.gap('a');
    await vi.advanceTimersByTimeAsync(0);
    expect(onGap).toHaveBeenLastCalledWith(expect.objectContaining({ reason: 'server' }));
    server.disconnect();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(onGap).toHaveBeenLastCalledWith(expect.objectContaining({ reason: 'reconnect' }));
  });
});

describe('the connection', () => {
  it('is made, lost, refused and moved as the test says', async () => {
    server.reachable = false;
    client.connect();
    await vi.advanceTimersByTimeAsync(0);
    expect(client.state.status).toBe('waiting');
    server.reachable = true;
    await vi.advanceTimersByTimeAsync(2_000);
    expect(client.state.status).toBe('open');
    expect(server.connections).toBe(1);
    server.goAway();
    await vi.advanceTimersByTimeAsync(10);
    expect(client.state.status).toBe('open');
    expect(server.connections).toBe(1);
    server.disconnect(4403, 'banned');
    await vi.advanceTimersByTimeAsync(0);
    expect(client.state).toMatchObject({ status: 'closed', error: { code: 4403, message: 'banned' } });
    expect(server.connections).toBe(0);
  });

  it('asks for a token', async () => {
    const auth = vi.fn((token: string) => (token === 'good' ? 60_000 : false));
    start({ auth }, () => 'good');
    server.handle('who', () => 'u');
    expect(await client.call('who')).toBe('u');
    expect(auth).toHaveBeenCalledWith('good');
    await vi.advanceTimersByTimeAsync(45_000);
    expect(auth).toHaveBeenCalledTimes(2);
    void client.close();
    start({ auth }, () => 'bad');
    await expect(client.call('who')).rejects.toMatchObject({ code: 401 });
  });
});
