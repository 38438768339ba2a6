// Calls with keys against a real server, its nodes and their end.
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { stream, withKey, type Client, type KeyedOptions } from '../../src/index.js';
import { TestServer, nodeClient, reached, type TestContract } from '../support/server.js';

const server = new TestServer();
const clients: Client<TestContract>[] = [];
const sockets: WebSocket[] = [];

class Recorded extends WebSocket {
  constructor(url: string, protocols: string[]) {
    super(url, protocols);
    sockets.push(this);
  }
}

function connect(path = '/ws', of = server): Client<TestContract> {
  const client = nodeClient(of.url(path), { WebSocket: Recorded, backoff: { min: 1, max: 50 } });
  clients.push(client);
  return client;
}

let made = 0;
const newKey = (): string => `key ${++made}`;

const reason = (promise: Promise<unknown>): Promise<any> =>
  promise.then(
    (value) => Promise.reject(new Error(`resolved to ${JSON.stringify(value)}`)),
    (error: unknown) => error,
  );

/** Options whose `attached` resolves, to the state, once the server has taken the call. */
function options(more: KeyedOptions = {}): KeyedOptions & { attached: Promise<string> } {
  let tell: (state: string) => void;
  const attached = new Promise<string>((resolve) => (tell = resolve));
  return { ...more, attached, onAttach: ({ state }) => tell(state) };
}

const cancelled = async (): Promise<number> => (await server.get<{ cancelled: number }>('/control/counters')).cancelled;

beforeAll(() => server.start());
afterAll(() => server.kill());
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
});

describe('a call with a key', () => {
  it('runs once, and has one outcome for all who make it', async () => {
    const [a, b] = [connect(), connect()];
    const key = newKey();
    const counts = await Promise.all([a, a, b, b].map((client) => client.call('test.count', undefined, withKey(key))));
    counts.push(await connect().call('test.count', undefined, withKey(key, { since: 0 })));
    expect(new Set(counts).size).toBe(1);
    expect(await a.call('test.count', undefined, withKey(newKey()))).toBe(counts[0]! + 1);
    const failed = newKey();
    for (const _ of [1, 2]) expect(await reason(a.call('test.fail', undefined, withKey(failed)))).toMatchObject({ code: 422, outcome: 'failed', data: { field: 'a' } });
  });

  it('is refused for other args with 409, and where nothing is kept with 410', async () => {
    const client = connect();
    const key = newKey();
    expect(await client.call('test.echo', 1, withKey(key))).toBe(1);
    expect(await reason(client.call('test.echo', 2, withKey(key)))).toMatchObject({ code: 409, outcome: 'refused' });
    expect(await reason(client.call('test.echo', 1, withKey(newKey(), { since: 0 })))).toMatchObject({ code: 410, outcome: 'refused' });
  });

  it('is not sent by a session that may have no keys', async () => {
    expect(await reason(connect('/small').call('test.echo', 1, withKey(newKey())))).toMatchObject({ code: 400, outcome: 'refused', message: expect.stringContaining('not for this session') });
  });

  it('goes on without who leaves it, and ends for all by stop', async () => {
    const [a, b] = [connect(), connect()];
    const before = await cancelled();
    const key = newKey();
    const leaving = new AbortController();
    const first = options({ signal: leaving.signal });
    const left = reason(a.call('test.wait', undefined, withKey(key, first)));
    expect(await first.attached).toBe('new');
    const stop = new AbortController();
    const second = options({ stop: stop.signal });
    const joined = reason(b.call('test.wait', undefined, withKey(key, second)));
    expect(await second.attached).toBe('running');
    leaving.abort();
    expect(await left).toMatchObject({ name: 'AbortError' });
    const third = options({ since: 0 });
    const back = reason(a.call('test.wait', undefined, withKey(key, third)));
    expect(await third.attached).toBe('running');
    expect(await cancelled()).toBe(before);
    stop.abort();
    expect(await joined).toMatchObject({ code: 499, outcome: 'failed' });
    expect(await back).toMatchObject({ code: 499 });
    await vi.waitFor(async () => expect(await cancelled()).toBe(before + 1), 10_000);
  });

  it('is stopped by who knows its key alone', async () => {
    const [a, b] = [connect(), connect()];
    const key = newKey();
    const made = options();
    const waiting = reason(a.call('test.wait', undefined, withKey(key, made)));
    await made.attached;
    expect(await reason(b.call('test.wait', undefined, withKey(key, { since: 0, stop: AbortSignal.abort() })))).toMatchObject({ code: 499 });
    expect(await waiting).toMatchObject({ code: 499 });
  });

  it('has its outcome however often its connection is cut, and its node drained', async () => {
    const client = connect();
    const made = options();
    const delayed = client.call('test.delay', 700, withKey(newKey(), made));
    await made.attached;
    const { node } = await reached(client, 'open');
    await server.post('/control/drain');
    expect((await reached(client, 'open')).node).not.toBe(node);
    sockets.at(-1)!.terminate();
    expect(await delayed).toBe(700);
  });

  it('is gone with a server that keeps nothing', async () => {
    const own = await new TestServer().start();
    try {
      const client = connect('/ws', own);
      const made = options();
      const waiting = reason(client.call('test.wait', undefined, withKey(newKey(), made)));
      await made.attached;
      await own.kill();
      await own.start();
      expect(await waiting).toMatchObject({ code: 410, outcome: 'unknown', retryable: false });
      await client.close();
    } finally {
      await own.kill();
    }
  });
});

describe('a stream with a key', () => {
  it('survives drained nodes and cut connections, without a part missing or twice', async () => {
    const client = connect();
    const key = newKey();
    const last = 60;
    const answer = stream(client, 'test.paced', last, withKey(key, { parts: 4 }));
    const nodes = new Set<string>();
    const got: number[] = [];
    await server.post('/control/release?n=3');
    for await (const part of answer) {
      got.push(part);
      if (got.length % 3) continue;
      nodes.add((await reached(client, 'open')).node);
      // Parts come while the client is on its way, too.
      const disturb = [got.length % 2 ? server.post('/control/drain') : void sockets.at(-1)!.terminate()];
      if (got.length < last) disturb.push(server.post('/control/release?n=3'));
      await Promise.all(disturb);
    }
    const all = Array.from({ length: last }, (_, n) => n + 1);
    expect(got).toEqual(all);
    expect(nodes.size).toBeGreaterThan(5);
    const called = await answer.result;
    // Who comes later has the rest, or all of it, and no other answer.
    const rest = stream(connect(), 'test.paced', last, withKey(key, { since: last - 2 }));
    const again: number[] = [];
    for await (const part of rest) again.push(part);
    expect([again, await rest.result]).toEqual([[last - 1, last], called]);
    const whole: number[] = [];
    for await (const part of stream(connect(), 'test.paced', last, withKey(key))) whole.push(part);
    expect(whole).toEqual(all);
  });

  it('that is left goes on, and is read by another client at its own pace', async () => {
    const key = newKey();
    const first = connect();
    await server.post('/control/release?n=5');
    for await (const part of stream(first, 'test.paced', 10, withKey(key))) if (part === 3) break;
    await first.close();
    await server.post('/control/release?n=5');
    const answer = stream(connect(), 'test.paced', 10, withKey(key, { since: 3, parts: 1 }));
    const got: number[] = [];
    for await (const part of answer) got.push(part);
    expect(got).toEqual([4, 5, 6, 7, 8, 9, 10]);
  });
});
