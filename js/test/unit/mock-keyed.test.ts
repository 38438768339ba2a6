// Calls with keys to a mock server, as an application's tests make them.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, JugglerError, stream, withKey, type Attached, type KeyedOptions, type Stream } from '../../src/index.js';
import { MockServer, type CallContext, type MockServerOptions } from '../../src/testing.js';

interface App {
  calls: { pay: (cents: number) => string; count: (to: number) => AsyncGenerator<number, string> };
  channels: Record<string, never>;
}

let server: MockServer<App>;
let clients: Client<App>[];
/** The calls that the handlers have got, and what ends the newest of `pay`. */
let called: [args: number, context: CallContext][];
let pay: (receipt: string) => void;

const elapse = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

function start(options: MockServerOptions = {}): void {
  server = new MockServer<App>(options)
    .handle('pay', (cents, context) => {
      called.push([cents, context]);
      return new Promise((resolve) => (pay = resolve));
    })
    .handle('count', async function* (to, context) {
      called.push([to, context]);
      for (let n = 1; n <= to; n++) yield n;
      return 'all';
    });
}

function connect(auth?: () => string): Client<App> {
  const client = new Client<App>('ws://mock', { WebSocket: server.WebSocket, logger: () => {}, backoff: { min: 1, max: 1 }, ...(auth && { auth }) });
  clients.push(client);
  return client;
}

const reason = (promise: Promise<unknown>): Promise<any> =>
  promise.then(
    (value) => Promise.reject(new Error(`resolved to ${JSON.stringify(value)}`)),
    (error: unknown) => error,
  );

async function collect(answer: Stream): Promise<[parts: unknown[], end: unknown]> {
  const got: unknown[] = [];
  try {
    for await (const part of answer) got.push(part);
  } catch (error) {
    return [got, error];
  }
  return [got, await answer.result];
}

beforeEach(() => {
  vi.useFakeTimers();
  [clients, called] = [[], []];
  start();
});
afterEach(async () => {
  await Promise.all(clients.map((client) => client.close()));
  vi.useRealTimers();
});

describe('a call with a key', () => {
  it('is made once for all who make it, also later, and each is told how far it is', async () => {
    const seen: Attached[] = [];
    const options: KeyedOptions = { onAttach: (attached) => seen.push(attached) };
    const first = connect().call('pay', 5, withKey('k', options));
    await elapse();
    const second = connect().call('pay', 5, withKey('k', options));
    await elapse();
    pay('receipt');
    expect(await Promise.all([first, second])).toEqual(['receipt', 'receipt']);
    expect(await connect().call('pay', 7, withKey('k', { ...options, since: 0 }))).toBe('receipt');
    expect(seen).toEqual([{ state: 'new' }, { state: 'running' }, { state: 'done' }]);
    expect(called).toHaveLength(1);
  });

  it('survives lost connections and moves, and who leaves it', async () => {
    const client = connect();
    const paid = client.call('pay', 5, withKey('k'));
    await elapse();
    server.cut();
    await elapse(10);
    server.goAway();
    await elapse(10);
    const controller = new AbortController();
    const left = reason(client.call('pay', 5, withKey('k', { signal: controller.signal })));
    await elapse();
    controller.abort();
    await left;
    await elapse();
    expect(called.map(([, { signal }]) => signal.aborted)).toEqual([false]);
    pay('receipt');
    expect(await paid).toBe('receipt');
  });

  it('keeps its error', async () => {
    server.handle('pay', () => {
      called.push([0, {} as never]);
      throw new JugglerError(422, 'no', 'failed');
    });
    const client = connect();
    for (const _ of [1, 2]) expect(await reason(client.call('pay', 5, withKey('k')))).toMatchObject({ code: 422 });
    expect(called).toHaveLength(1);
  });

  it('is told from others by URI and key, also for the handler', async () => {
    const client = connect();
    for (const key of ['a', 'b']) await collect(stream(client, 'count', 1, withKey(key)));
    void client.call('pay', 1, withKey('a')).catch(() => {});
    void client.call('pay', 1).catch(() => {});
    await elapse();
    const keys = called.map(([, { key }]) => key);
    expect(new Set(keys).size).toBe(4);
    expect(keys[3]).toBe('');
  });

  it('is refused for other args, where nothing is kept, without a handler, and as the test says', async () => {
    const client = connect();
    void client.call('pay', 5, withKey('k')).catch(() => {});
    expect(await reason(client.call('pay', 6, withKey('k')))).toMatchObject({ code: 409 });
    expect(await reason(client.call('pay', 5, withKey('other', { since: 0 })))).toMatchObject({ code: 410 });
    expect(await reason((client as unknown as Client).call('nobody', 5, withKey('k')))).toMatchObject({ code: 404 });
    server.refuse('pay', { code: 429, times: 1 });
    expect(await reason(client.call('pay', 5, withKey('k')))).toMatchObject({ code: 429 });
  });

  it('is stopped for all', async () => {
    const stop = new AbortController();
    const both = [reason(connect().call('pay', 5, withKey('k'))), reason(connect().call('pay', 5, withKey('k', { stop: stop.signal })))];
    await elapse();
    stop.abort();
    expect(await Promise.all(both)).toMatchObject([{ code: 499 }, { code: 499 }]);
    expect(called[0]![1].signal.aborted).toBe(true);
    pay('late');
    expect(await reason(connect().call('pay', 5, withKey('k')))).toMatchObject({ code: 499 });
  });

  it('is gone once it is forgotten', async () => {
    const client = connect();
    const paid = reason(client.call('pay', 5, withKey('k')));
    await elapse();
    server.forgetCall('pay', 'k');
    server.forgetCall('pay', 'other');
    expect(await paid).toMatchObject({ code: 410 });
    expect(await reason(client.call('pay', 5, withKey('k', { since: 0 })))).toMatchObject({ code: 410 });
    void client.call('pay', 5, withKey('k')).catch(() => {});
    await elapse();
    expect(called).toHaveLength(2);
  });

  it('is not for who may have none', async () => {
    start({ keyed: false });
    expect(await reason(connect().call('pay', 5, withKey('k')))).toMatchObject({ code: 400 });
    start({ auth: () => true });
    expect(await reason(connect().call('pay', 5, withKey('k')))).toMatchObject({ code: 400 });
    const paid = connect(() => 'token').call('pay', 5, withKey('k'));
    await elapse();
    pay('receipt');
    expect(await paid).toBe('receipt');
  });
});

describe('a stream with a key', () => {
  const all = (to: number): number[] => Array.from({ length: to }, (_, n) => n + 1);

  it('goes on behind its last part', async () => {
    const client = connect();
    const answer = stream(client, 'count', 50, withKey('k', { parts: 3 }));
    const got: number[] = [];
    for await (const part of answer) {
      got.push(part);
      if (part % 7 === 0) server.cut();
      if (part % 11 === 0) server.goAway();
      await elapse(2);
    }
    expect(got).toEqual(all(50));
    expect(called).toHaveLength(1);
  });

  it('is read by each at its own pace, and behind a part', async () => {
    const [slow, fast] = [connect(), connect()];
    const first = stream(slow, 'count', 9, withKey('k', { parts: 1 }));
    expect(await first.next()).toMatchObject({ value: 1 });
    expect(await collect(stream(fast, 'count', 9, withKey('k')))).toEqual([all(9), 'all']);
    expect(await collect(stream(fast, 'count', 9, withKey('k', { since: 7 })))).toEqual([[8, 9], 'all']);
    expect(await fast.call('count', 9, withKey('k'))).toBe('all');
    expect(await collect(first)).toEqual([all(9).slice(1), 'all']);
  });

  it('says from where on it comes, and ends where parts are gone that it lacks', async () => {
    const client = connect();
    const slow = stream(client, 'count', 9, withKey('k', { parts: 1 }));
    await slow.next();
    await elapse(); // until all parts are made
    server.forgetCall('count', 'k', 6);
    const seen: Attached[] = [];
    const onAttach = (attached: Attached): void => void seen.push(attached);
    expect(await collect(stream(client, 'count', 9, withKey('k', { since: 2, onAttach })))).toEqual([[7, 8, 9], 'all']);
    expect(await collect(stream(client, 'count', 9, withKey('k', { since: 6, onAttach })))).toEqual([[7, 8, 9], 'all']);
    expect(seen).toEqual([{ state: 'done', from: 7 }, { state: 'done' }]);
    expect((await collect(slow))[1]).toMatchObject({ code: 429 });
  });

  it('that was made without parts has the result alone', async () => {
    const client = connect();
    expect(await client.call('count', 3, withKey('k'))).toBe('all');
    expect(await collect(stream(client, 'count', 3, withKey('k')))).toEqual([[], 'all']);
  });
});
