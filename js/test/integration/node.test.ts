// The client in Node against a real server.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { WebSocket } from 'ws';
import { JugglerError, stream, type Client, type ClientOptions, type JugglerEvent } from '../../src/index.js';
import { mistakes } from '../support/mistakes.js';
import { patience } from '../support/patience.js';
import { TestServer, nodeClient, reached, type TestContract } from '../support/server.js';

const server = new TestServer();
const clients: Client<TestContract>[] = [];
let errors: JugglerError[] = [];

/** A client that is closed after the test, and that may report nothing. */
function connect(path = '/ws', options: ClientOptions = {}): Client<TestContract> {
  const client = nodeClient(server.url(path), options);
  client.on('error', (error) => errors.push(error));
  clients.push(client);
  return client;
}

const reason = (promise: Promise<unknown>): Promise<any> =>
  promise.then(
    (value) => {
      throw new Error(`resolved to ${JSON.stringify(value)}`);
    },
    (error: unknown) => error,
  );

beforeAll(() => server.start());
afterAll(() => server.kill());

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  const reported = errors;
  errors = [];
  expect(reported).toEqual([]);
});

describe('calls', () => {
  it('that are mistakes harm themselves only', async () => {
    const client = connect();
    const states: string[] = [];
    await client.call('test.echo', 0);
    client.on('state', ({ status }) => states.push(status));
    const other = client.call('test.delay', 500);
    const outcomes = await Promise.allSettled(mistakes.map(([, make]) => make(client)));
    expect(mistakes.filter((_, i) => outcomes[i]!.status === 'fulfilled').map(([name]) => name)).toEqual([]);
    expect(await other).toBe(500);
    expect(states).toEqual([]);
    errors = errors.filter(({ code }) => code !== 400);
  });

  it('return results', async () => {
    const client = connect();
    expect(await client.call('test.add', [1, 2])).toBe(3);
    expect(client.state).toMatchObject({ status: 'open', session: expect.stringMatching(/^[0-9A-Z]{26}$/) });
  });

  it('carry headers', async () => {
    expect(await connect().call('test.header', 'tenant', { headers: { tenant: 'acme' } })).toBe('acme');
  });

  const hostile: unknown[] = [
    null,
    '',
    0,
    -0.5,
    1e300,
    [],
    {},
    'ünïcödé 💥 \u0000\u2028\u2029 "\\/</script>',
    '\ud800 half a pair',
    { __proto__: null, constructor: { prototype: { polluted: 1 } } },
    JSON.parse('{"__proto__":{"polluted":true}}'),
    [[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]],
    { type: 'RES', for: '1', args: 'not a message' },
    'x'.repeat(60_000),
    '💥'.repeat(15_000),
  ];
  it('return any JSON as it was', async () => {
    const client = connect();
    for (const args of hostile) expect(JSON.stringify(await client.call('test.echo', args))).toBe(JSON.stringify(args));
    expect(({} as any).polluted).toBeUndefined();
  });

  it('reject with the error of the callee', async () => {
    const client = connect();
    expect(await reason(client.call('test.fail'))).toMatchObject({
      code: 422,
      message: 'not a number',
      data: { field: 'a' },
      outcome: 'failed',
      retryable: false,
    });
    expect(await reason(client.call('test.broken'))).toMatchObject({ code: 500, message: 'internal error' });
  });

  it('reject with 404 where nobody answers, 403 where it is not allowed', async () => {
    const client = connect();
    expect(await reason(client.call('nobody'))).toMatchObject({ code: 404, outcome: 'refused', retryable: true });
    expect(await reason(client.call('secret'))).toMatchObject({ code: 403, outcome: 'refused', retryable: false });
  });

  it('reject with 408 when time is over', async () => {
    const client = connect();
    // Once connected: how long that takes is the machine's affair.
    await client.call('test.add', [1, 1]);
    expect(await reason(client.call('test.delay', 10_000, { timeout: 50 }))).toMatchObject({ code: 408, outcome: 'unknown' });
    expect(await client.call('test.add', [1, 1])).toBe(2);
  });

  it('reject with 400 beyond the longest timeout of the server', async () => {
    expect(await reason(connect().call('test.add', [1, 2], { timeout: 1e9 }))).toMatchObject({ code: 400 });
  });

  it('are cancelled at the callee', async () => {
    const client = connect();
    const { cancelled } = await server.get<{ cancelled: number }>('/control/counters');
    const controller = new AbortController();
    const call = reason(client.call('test.wait', undefined, { signal: controller.signal }));
    await client.call('test.echo', 1); // The other has begun by now, or will be cancelled in the queue.
    controller.abort();
    expect(await call).toBe(controller.signal.reason);
    await vi.waitFor(async () => {
      expect((await server.get<{ cancelled: number }>('/control/counters')).cancelled).toBe(cancelled + 1);
    }, patience);
  });

  it('1,000 at once all come back, though the server allows 128', async () => {
    const client = connect();
    const results = await Promise.all(Array.from({ length: 1_000 }, (_, n) => client.call('test.echo', n)));
    expect(results).toEqual(Array.from({ length: 1_000 }, (_, n) => n));
  });

  it('run beside slow ones', async () => {
    const client = connect();
    const slow = client.call('test.delay', 300);
    const order: string[] = [];
    void slow.then(() => order.push('slow'));
    await client.call('test.echo', 1).then(() => order.push('fast'));
    await slow;
    expect(order).toEqual(['fast', 'slow']);
  });
});

describe('limits of the server', () => {
  it('are kept, so that no connection is lost', async () => {
    const client = connect('/small');
    const states: string[] = [];
    client.on('state', ({ status }) => states.push(status));
    const results = await Promise.all(Array.from({ length: 20 }, (_, n) => client.call('test.echo', n)));
    expect(results).toHaveLength(20);
    expect(await reason(client.call('test.echo', 'é'.repeat(1_024)))).toMatchObject({ code: 413, outcome: 'refused' });
    expect(await client.call('test.echo', 'é'.repeat(950))).toHaveLength(950);
    expect(states).toEqual(['connecting', 'open']);
  });

  it.each(['at once', 'some at once, then one after the other'])('publications keep their order where some are put off: %s', async (way) => {
    const client = connect('/busy');
    const got: unknown[] = [];
    await client.subscribe('order', ({ args }) => got.push(args)).ready;
    const all: Promise<void>[] = [];
    for (let n = 0; n < 30; n++) {
      all.push(client.publish('order', n));
      if (way !== 'at once' && n > 8) await all[n - 8];
    }
    await Promise.all(all);
    await vi.waitFor(() => expect(got).toEqual(Array.from({ length: 30 }, (_, n) => n)), patience);
  });

  it('a message of exactly the greatest size is taken', async () => {
    const client = connect('/small');
    await client.call('test.echo', 1);
    const frame = `{"type":"PUB","id":"2","channel":"x","args":""}`;
    await client.publish('x', 'a'.repeat(2_048 - frame.length));
    expect(await reason(client.publish('x', 'a'.repeat(2_049 - frame.length)))).toMatchObject({ code: 413 });
  });

  it('a subscription too many is asked for again until there is room', async () => {
    const client = connect('/small');
    const [one, two] = [client.subscribe('a'), client.subscribe('b')];
    await Promise.all([one.ready, two.ready]);
    const three = client.subscribe('c');
    const ready = three.ready;
    await vi.waitFor(() => expect(errors).toMatchObject([{ code: 429, outcome: 'refused' }]), patience);
    one.unsubscribe();
    await ready;
    errors = [];
  });
});

describe('events', () => {
  it('reach their subscribers, and the publisher', async () => {
    const [a, b] = [connect(), connect()];
    const got: JugglerEvent[] = [];
    const subA = a.subscribe('news.go', (event) => got.push(event));
    const subB = b.subscribe('news.*', { pattern: true }, (event) => got.push(event));
    await Promise.all([subA.ready, subB.ready]);
    await a.publish('news.go', { title: 'ünï' }, { headers: { by: 'a' } });
    await vi.waitFor(() => expect(got).toHaveLength(2), patience);
    got.sort((x) => (x.pattern ? 1 : -1));
    expect(got).toMatchObject([
      { channel: 'news.go', args: { title: 'ünï' }, headers: { by: 'a' } },
      { channel: 'news.go', pattern: 'news.*', args: { title: 'ünï' } },
    ]);
    expect(got[0]!.id).toBe(got[1]!.id);
  });

  it('10,000 arrive in order, by handler and by iterator', async () => {
    const client = connect();
    const got: unknown[] = [];
    const handled = client.subscribe('many', ({ args }) => got.push(args));
    const iterated = client.subscribe('many', { buffer: 10_000 });
    await Promise.all([handled.ready, iterated.ready]);
    await server.post('/control/publish?channel=many&n=10000');
    const expected = Array.from({ length: 10_000 }, (_, n) => n);
    const looped: unknown[] = [];
    for await (const { args } of iterated) if (looped.push(args) === 10_000) break;
    expect(looped).toEqual(expected);
    expect(got).toEqual(expected);
  });

  it('published by a client arrive in order', async () => {
    const [publisher, subscriber] = [connect(), connect()];
    const got: unknown[] = [];
    await subscriber.subscribe('mine', ({ args }) => got.push(args)).ready;
    const numbers = Array.from({ length: 1_000 }, (_, n) => n);
    await Promise.all(numbers.map((n) => publisher.publish('mine', n)));
    await vi.waitFor(() => expect(got).toHaveLength(1_000), patience);
    expect(got).toEqual(numbers);
  });

  it('stop with the last subscription, and begin with the next', async () => {
    const client = connect();
    const got: unknown[] = [];
    const first = client.subscribe('x', ({ args }) => got.push(args));
    await first.ready;
    first.unsubscribe();
    await client.publish('x', 1);
    await client.subscribe('x', ({ args }) => got.push(args)).ready;
    await client.publish('x', 2);
    await vi.waitFor(() => expect(got).toEqual([2]), patience);
  });

  it('of a channel that is not allowed are refused', async () => {
    const client = connect();
    expect(await reason(client.subscribe('secret').ready)).toMatchObject({ code: 403 });
    expect(await reason(client.publish('secret', 1))).toMatchObject({ code: 403, outcome: 'refused' });
  });
});

describe('liveness', () => {
  it('a quiet connection stays', async () => {
    const client = connect('/small'); // PING every second
    const states: string[] = [];
    await client.call('test.echo', 1);
    client.on('state', ({ status }) => states.push(status));
    await sleep(3_500);
    expect(states).toEqual([]);
    client.connect(); // Asks the server for a sign of life, which it has to understand.
    expect(await client.call('test.echo', 2)).toBe(2);
  });
});

describe('signing in', () => {
  it('is done before anything else', async () => {
    const client = connect('/auth', { auth: async () => 'forever' });
    expect(await client.call('test.echo', 1)).toBe(1);
  });

  it('is renewed before the credentials expire', async () => {
    const auth = vi.fn(() => 'for 4000');
    const client = connect('/auth', { auth });
    const states: string[] = [];
    client.on('state', ({ status }) => states.push(status));
    await client.call('test.echo', 1);
    await sleep(4_500);
    expect(await client.call('test.echo', 2)).toBe(2);
    expect(auth.mock.calls.length).toBeGreaterThan(1);
    expect(states).toEqual(['connecting', 'open']);
  });

  it('is done again when the credentials have expired', async () => {
    // The provider fails when it is asked to renew, so the server closes with 4502.
    const auth = vi.fn().mockReturnValueOnce('for 1000').mockRejectedValueOnce(new Error('offline')).mockReturnValue('forever');
    const client = connect('/auth', { auth });
    await client.call('test.echo', 1);
    expect(await reached(client, 'waiting')).toMatchObject({ error: { code: 4502 } });
    expect(await client.call('test.echo', 2)).toBe(2);
    errors = []; // The failure is reported, too.
  });

  it('comes to its end with a provider that is slower than the server waits', async () => {
    const auth = vi.fn(() => sleep(1_500, 'forever')); // The server waits for 500 ms.
    const client = connect('/auth', { auth });
    expect(await client.call('test.echo', 1)).toBe(1);
    expect(auth).toHaveBeenCalledTimes(1);
  });

  it('uses no refresh token twice where connections are lost while it asks for a token', async () => {
    let used = 0;
    let running = 0;
    const sockets: WebSocket[] = [];
    const auth = vi.fn(async () => {
      if (running++) throw new JugglerError(401, 'refresh token used twice: the session is revoked', 'refused');
      await sleep(200);
      running--;
      used++;
      return 'for 1000';
    });
    class Recorded extends WebSocket {
      constructor(...args: ConstructorParameters<typeof WebSocket>) {
        super(...args);
        sockets.push(this);
      }
    }
    const client = connect('/auth', { auth, WebSocket: Recorded });
    for (let i = 0; i < 5; i++) {
      await client.call('test.echo', 1);
      const asked = auth.mock.calls.length;
      await vi.waitFor(() => expect(auth.mock.calls.length).toBeGreaterThan(asked), patience);
      sockets.at(-1)!.terminate();
    }
    expect(await client.call('test.echo', 2)).toBe(2);
    expect(used).toBeGreaterThanOrEqual(5);
  });

  it('is over when it is refused', async () => {
    const client = connect('/auth', { auth: () => 'wrong' });
    const refused = vi.fn();
    client.on('refused', refused);
    expect(await reason(client.call('test.echo', 1))).toMatchObject({ code: 401, outcome: 'refused' });
    expect(refused).toHaveBeenCalledTimes(1);
    expect(client.state).toMatchObject({ status: 'closed', error: { code: 401 } });
    errors = []; // The refusal is reported, too.
  });

  it('by a client that should and does not ends in 4400', async () => {
    const client = connect('/auth');
    const refused = new Promise((resolve) => client.on('refused', resolve));
    client.connect();
    expect(await refused).toMatchObject({ code: 4400 });
  });
});

describe('a channel whose events are kept', () => {
  it('has no gap: 300 events that were missed come, in order', async () => {
    const sockets: WebSocket[] = [];
    let online = Promise.resolve();
    let back = (): void => {};
    const client = nodeClient(async () => (await online, server.url()), {
      WebSocket: class extends WebSocket {
        constructor(url: string, protocols: string[]) {
          super(url, protocols);
          sockets.push(this);
        }
      },
    });
    clients.push(client);
    const got: unknown[] = [];
    await client.subscribe('kept.node', { onGap: () => got.push('gap') }, ({ args }) => got.push(args)).ready;
    online = new Promise((resolve) => (back = resolve));
    sockets[0]!.terminate();
    await reached(client, 'waiting');
    await server.post('/control/publish?channel=kept.node&n=300');
    back();
    await client.publish('kept.node', 'after');
    await vi.waitFor(() => expect(got).toContain('after'), patience);
    expect(got).toEqual([...Array(300).keys(), 'after']);
  });
});

describe('a server that is killed', () => {
  it('and restarted: calls under way are lost, the others and the subscriptions are not', async () => {
    const own = await new TestServer().start();
    try {
      const client = nodeClient(own.url());
      const gaps = vi.fn();
      const got: unknown[] = [];
      await client.subscribe('x', { onGap: gaps }, ({ args }) => got.push(args)).ready;
      const underWay = reason(client.call('test.wait'));
      const repeated = client.call('test.delay', 200, { idempotent: true });
      const begun = stream(client, 'test.parts', 1_000, { parts: 2, idempotent: true });
      await begun.next();
      await own.kill();
      const rest = async (): Promise<void> => {
        for await (const part of begun) expect(part).toBeLessThanOrEqual(3);
      };
      expect(await reason(rest())).toMatchObject({ code: 1006, outcome: 'unknown', message: expect.stringMatching(/parts that came: [123]$/) });
      expect(await underWay).toMatchObject({ code: 1006, outcome: 'unknown', retryable: false });
      const waiting = client.call('test.add', [1, 2]);
      expect(await reason(client.call('test.echo', 1, { wait: false }))).toMatchObject({ code: 503, outcome: 'refused' });
      await sleep(300);
      await own.start();
      expect(await waiting).toBe(3);
      expect(await repeated).toBe(200);
      await vi.waitFor(() => expect(gaps).toHaveBeenCalledTimes(1), patience);
      await client.publish('x', 'after');
      await vi.waitFor(() => expect(got).toEqual(['after']), patience);
      await client.close();
    } finally {
      await own.kill();
    }
  });
});

describe('answers in parts', () => {
  interface Counters {
    cancelled: number;
    sent: number;
  }
  const counters = (): Promise<Counters> => server.get<Counters>('/control/counters');

  it('come in order, and no faster than they are taken', async () => {
    const answer = stream(connect(), 'test.parts', 1_000, { parts: 5 });
    const got: number[] = [];
    for await (const part of answer) {
      if (got.push(part) % 100 === 0) expect((await counters()).sent).toBeLessThanOrEqual(got.length + 5);
    }
    expect(got).toEqual(Array.from({ length: 1_000 }, (_, n) => n + 1));
    expect(await answer.result).toBe(1_000);
  });

  it('many at once keep apart, beside one that nobody takes', async () => {
    const client = connect();
    const idle = stream(client, 'test.parts', 1_000, { parts: 1 });
    await idle.next();
    const sums = Array.from({ length: 20 }, async (_, i) => {
      let sum = 0;
      for await (const part of stream(client, 'test.parts', 100 + i)) sum += part;
      return sum;
    });
    expect(await Promise.all(sums)).toEqual(Array.from({ length: 20 }, (_, i) => ((100 + i) * (101 + i)) / 2));
    expect(await idle.next()).toEqual({ value: 2, done: false });
    await idle.return!();
  });

  it('that are left end at the callee', async () => {
    const before = await counters();
    const client = connect();
    for await (const part of stream(client, 'test.parts', 1_000_000)) if (part === 40) break;
    const controller = new AbortController();
    const aborted = stream(client, 'test.parts', 1_000_000, { signal: controller.signal });
    await aborted.next();
    controller.abort();
    expect(await reason(aborted.next())).toMatchObject({ name: 'AbortError' });
    await vi.waitFor(async () => expect((await counters()).cancelled).toBe(before.cancelled + 2), patience);
    expect(await client.call('test.echo', 1)).toBe(1);
  });

  it('are nothing to who wants the result, or to a callee that has none', async () => {
    const client = connect();
    expect(await client.call('test.parts', 100)).toBe(100);
    expect(await stream(client, 'test.parts', 100, { parts: 3 }).result).toBe(100);
    const plain = stream(client, 'test.echo', 'all');
    expect([await plain.next(), await plain.result]).toEqual([{ value: undefined, done: true }, 'all']);
    expect(await reason(stream(client, 'test.fail').next())).toMatchObject({ code: 422, data: { field: 'a' } });
  });
});

describe('a node that is drained', () => {
  it('loses no call, no part, no event, and none of their order', async () => {
    const client = connect();
    const publisher = connect();
    const gaps = vi.fn();
    const got: unknown[] = [];
    await client.subscribe('drained', { onGap: gaps }, ({ args }) => got.push(args)).ready;
    const before = await reached(client, 'open');
    const long = client.call('test.delay', 1_000);
    let draining = true;
    let sent = 0;
    const calls = async (): Promise<number> => {
      let n = 0;
      while (draining) if ((await client.call('test.echo', n)) === n) n++;
      return n;
    };
    const events = async (): Promise<void> => {
      while (draining) await publisher.publish('drained', sent++);
    };
    const parts = async (): Promise<number> => {
      let last = 0;
      for await (const part of stream(client, 'test.parts', 300, { parts: 2 })) {
        expect(part).toBe(++last);
        await publisher.call('test.echo', part);
      }
      return last;
    };
    const working = Promise.all([calls(), events(), parts()]);
    await sleep(50);
    await server.post('/control/drain');
    await sleep(100);
    draining = false;
    const [done, , streamed] = await working;
    expect(done).toBeGreaterThan(0);
    expect(streamed).toBe(300);
    expect(await long).toBe(1_000);
    await vi.waitFor(() => expect(got).toHaveLength(sent), patience);
    expect(got).toEqual(Array.from({ length: sent }, (_, n) => n));
    expect(gaps).not.toHaveBeenCalled();
    const after = await reached(client, 'open');
    expect(after.node).not.toBe(before.node);
  });
});

describe('the check of a runtime', () => {
  it('passes in this one, which ends by itself', async () => {
    const { stdout } = await promisify(execFile)(process.execPath, ['scripts/smoke.mjs', server.url()], {
      cwd: join(import.meta.dirname, '../..'),
    });
    expect(stdout.trim()).toBe('ok');
  });
});

describe('memory', () => {
  it('does not grow with calls', { timeout: 120_000 }, async () => {
    if (!globalThis.gc) throw new Error('run Node with --expose-gc');
    const client = connect();
    const run = async (calls: number): Promise<number> => {
      for (let i = 0; i < calls; i += 100) {
        await Promise.all(Array.from({ length: 100 }, (_, n) => client.call('test.echo', n)));
      }
      await sleep(50);
      globalThis.gc!();
      return process.memoryUsage().heapUsed;
    };
    const before = await run(20_000);
    const after = await run(100_000);
    expect(after - before).toBeLessThan(1_000_000); // 10 bytes a call
  });
});
