// The mock server, as an application's tests use it.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, JugglerError, stream } from '../../src/index.js';
import { MockServer, type MockLimits, type MockServerOptions } from '../../src/testing.js';

interface App {
  calls: { add: (args: [number, number]) => number; fail: () => void; wait: () => void; who: () => string; count: (to: number) => AsyncGenerator<number, string> };
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
  });

  it.each([null, undefined, 'text', new Error('secret'), Object.assign(new Error('secret'), { code: 'ENOENT' })])('fail with 500 where %s is thrown', async (thrown) => {
    server.handle('fail', () => Promise.reject(thrown));
    await expect(client.call('fail')).rejects.toMatchObject({ code: 500, message: 'internal error' });
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

describe('refusals', () => {
  it('are certain, and last until they are taken back', async () => {
    const add = vi.fn(([a, b]: [number, number]) => a + b);
    server.handle('add', add).refuse('add', { code: 403, message: 'not you' });
    const refused = { code: 403, message: 'not you', outcome: 'refused' };
    for (let i = 0; i < 2; i++) await expect(client.call('add', [1, 2])).rejects.toMatchObject(refused);
    expect(add).not.toHaveBeenCalled();
    server.allow('add');
    expect(await client.call('add', [1, 2])).toBe(3);
  });

  it.each([429, 503])('that pass: %d with retry_after', async (code) => {
    server.handle('add', ([a, b]) => a + b).refuse('add', { code, retryAfter: 250, times: 2 });
    const sum = client.call('add', [1, 2]);
    await vi.advanceTimersByTimeAsync(499);
    expect(await Promise.race([sum, 'not yet'])).toBe('not yet');
    await vi.advanceTimersByTimeAsync(1);
    expect(await sum).toBe(3);
  });

  it('of a publication and of a subscription', async () => {
    server.refuse('a').refuse('b*', { code: 401, message: 'sign in' });
    await expect(client.publish('a', 1)).rejects.toMatchObject({ code: 403, message: 'a was refused' });
    expect(server.published).toEqual([]);
    const onError = vi.fn();
    client.subscribe('b*', { pattern: true, onError }, () => {});
    await vi.advanceTimersByTimeAsync(0);
    expect(onError).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: 401, message: 'sign in' }));
  });

  it.each([4400, 1013])('of a connection: %d', async (code) => {
    server.refusing = { code, reason: 'not now' };
    client.connect();
    await vi.advanceTimersByTimeAsync(0);
    expect(client.state).toMatchObject({ status: code === 4400 ? 'closed' : 'waiting', error: { code, message: 'not now' } });
    expect(server.connections).toBe(0);
    server.refusing = undefined;
    client.connect();
    await vi.advanceTimersByTimeAsync(0);
    expect(client.state.status).toBe('open');
  });

  it('of a token, and a token that takes its time', async () => {
    start({ auth: (token) => new Promise((resolve) => setTimeout(resolve, 500, token === 'good')) }, () => 'good');
    client.connect();
    await vi.advanceTimersByTimeAsync(499);
    expect(client.state.status).toBe('connecting');
    await vi.advanceTimersByTimeAsync(1);
    expect(client.state.status).toBe('open');
    void client.close();
    start({ auth: () => Promise.reject({ code: 503, message: 'later' }) }, () => 'good');
    const errors = vi.fn();
    client.on('error', errors);
    client.connect();
    await vi.advanceTimersByTimeAsync(0);
    expect(errors).toHaveBeenCalledWith(expect.objectContaining({ code: 503, message: 'later' }));
  });
});

describe('limits', () => {
  /** What the server says to these requests, HELLO left out, and how it closed. */
  async function answers(limits: MockLimits, ...requests: object[]): Promise<unknown[]> {
    server = new MockServer<App>({ limits }).handle('wait', () => new Promise(() => {}));
    const socket = new server.WebSocket('ws://mock', []);
    const got: unknown[] = [];
    socket.onmessage = ({ data }) => got.push(JSON.parse(data));
    socket.onclose = ({ code }) => got.push(code);
    await vi.advanceTimersByTimeAsync(0);
    expect(got.shift()).toMatchObject({ type: 'HELLO', limits });
    for (const request of requests) socket.send(JSON.stringify(request));
    await vi.advanceTimersByTimeAsync(0);
    return got;
  }
  const ack = { type: 'ACK' };
  const nack = (code: number, retry_after?: number) => ({ type: 'NACK', error: { code, ...(retry_after && { retry_after }) } });

  it('are told and kept', async () => {
    const call = (id: string) => ({ type: 'CALL', id, uri: 'wait', timeout: 10 });
    expect(await answers({ calls: 1 }, call('1'), call('2'))).toMatchObject([ack, nack(429, 1_000)]);
    expect(await answers({ timeout: 9 }, call('1'))).toMatchObject([nack(400)]);
    const sub = (channel: string) => ({ type: 'SUB', id: channel, channel });
    expect(await answers({ subscriptions: 1 }, sub('a'), sub('a'), sub('b'))).toMatchObject([ack, ack, nack(429, 1_000)]);
    expect(await answers({ message: 30 }, { type: 'PONG' }, { type: 'PONG', more: 'ünï'.repeat(9) })).toEqual([1009]);
  });

  it('are known to the client', async () => {
    start({ limits: { calls: 2 } });
    const ends: (() => void)[] = [];
    server.handle('wait', () => new Promise((resolve) => ends.push(() => resolve(undefined))));
    const calls = [1, 2, 3].map(() => client.call('wait'));
    await vi.advanceTimersByTimeAsync(0);
    expect(ends.length).toBe(2);
    ends[0]!();
    await vi.advanceTimersByTimeAsync(0);
    expect(ends.length).toBe(3);
    for (const end of ends) end();
    await Promise.all(calls);
  });
});

it('a delay is that of the clock, and changes no order', async () => {
  const got: number[] = [];
  await client.subscribe('a', ({ args }) => got.push(args)).ready;
  server.delay = 100;
  server.publish('a', 1);
  server.delay = 0;
  server.publish('a', 2);
  server.disconnect();
  await vi.advanceTimersByTimeAsync(99);
  expect(got).toEqual([]);
  expect(client.state.status).toBe('open');
  await vi.advanceTimersByTimeAsync(1);
  expect(got).toEqual([1, 2]);
  expect(client.state.status).toBe('waiting');
});

it('a client that moves after GOAWAY misses and repeats nothing', async () => {
  const got: number[] = [];
  const onGap = vi.fn();
  await client.subscribe('a', { onGap }, ({ args }) => got.push(args)).ready;
  const { session } = client.state as { session: string };
  server.goAway(1_000);
  server.publish('a', 1);
  await vi.advanceTimersByTimeAsync(1_000);
  server.publish('a', 2);
  await vi.advanceTimersByTimeAsync(1_000);
  server.publish('a', 3);
  await vi.advanceTimersByTimeAsync(0);
  expect(client.state).toMatchObject({ status: 'open' });
  expect((client.state as { session: string }).session).not.toBe(session);
  expect(got).toEqual([1, 2, 3]);
  expect(onGap).not.toHaveBeenCalled();
});

describe('an answer in parts', () => {
  let made: number[];
  let ended: string[];
  beforeEach(() => {
    [made, ended] = [[], []];
    server.handle('count', async function* (to, { signal }) {
      try {
        for (let n = 1; n <= to; n++) {
          made.push(n);
          yield n;
        }
        return 'all';
      } finally {
        ended.push(signal.aborted ? 'cancelled' : 'done');
      }
    });
  });
  const elapse = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

  it('is made no faster than the client takes it', async () => {
    const answer = stream(client, 'count', 100, { parts: 4 });
    await elapse();
    expect(made).toEqual([1, 2, 3, 4]);
    for (const n of [1, 2]) expect(await answer.next()).toEqual({ value: n, done: false });
    await elapse();
    expect(made).toHaveLength(6);
    for (let n = 3; n <= 100; n++) await answer.next();
    expect(await answer.result).toBe('all');
    expect(ended).toEqual(['done']);
  });

  it('is made in one piece for who wants no parts', async () => {
    expect(await client.call('count', 100)).toBe('all');
    expect(made).toHaveLength(100);
  });

  it.each([0, 5])('rests for ever, and ends there when the client leaves after %i parts', async (taken) => {
    const answer = stream(client, 'count', 100, { parts: 10 });
    for (let n = 0; n < taken; n++) await answer.next();
    await elapse();
    await answer.return!();
    await elapse();
    expect(ended).toEqual(['cancelled']);
    expect(made.length).toBeLessThanOrEqual(15);
    expect(await answer.next()).toMatchObject({ done: true });
  });

  it('ends with its client', async () => {
    const answer = stream(client, 'count', 100);
    await answer.next();
    server.disconnect();
    await elapse();
    expect(ended).toEqual(['cancelled']);
    await expect(answer.result).rejects.toMatchObject({ code: 1006, outcome: 'unknown' });
  });

  it('may fail, and come from a plain generator', async () => {
    server.handle('count', function* () {
      yield 1;
      throw new JugglerError(422, 'no more', 'failed');
    } as never);
    const answer = stream(client, 'count', 3);
    expect(await answer.next()).toMatchObject({ value: 1 });
    await expect(answer.next()).rejects.toMatchObject({ code: 422, message: 'no more' });
  });

  it('may be anything else as before', async () => {
    server.handle('who', (): any => ({ next: 'no function' }));
    const answer = stream(client, 'who');
    expect(await answer.next()).toMatchObject({ done: true });
    expect(await answer.result).toEqual({ next: 'no function' });
  });

  it('is refused with headers that are reserved', async () => {
    await expect(client.call('who', undefined, { headers: { '@parts': '1' } })).rejects.toMatchObject({ code: 400 });
  });
});

// Where nothing but promises runs by itself, as with Jest's fake timers: no clock is advanced here.
describe.each<[kind: string, faked: NonNullable<Parameters<typeof vi.useFakeTimers>[0]>['toFake']]>([
  ['the default of the runner', undefined],
  ['all', ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'setImmediate', 'clearImmediate', 'Date', 'performance', 'queueMicrotask']],
  ['all but the clock, as the old ones', ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'setImmediate', 'queueMicrotask']],
])('with fake timers, %s', (_, toFake) => {
  const ticks = async (): Promise<void> => {
    for (let i = 0; i < 50; i++) await null;
  };

  beforeEach(() => {
    vi.useRealTimers();
    vi.useFakeTimers(toFake && { toFake });
    start();
    server.handle('add', ([a, b]) => a + b).handle('wait', () => new Promise(() => {}));
  });

  it('calls, events and unsubscribing need no clock', async () => {
    expect(await client.call('add', [1, 2])).toBe(3);
    const got: number[] = [];
    const subscription = client.subscribe('a', ({ args }) => got.push(args));
    await subscription.ready;
    await client.publish('a', 1);
    server.publish('a', 2);
    server.gap('a');
    await ticks();
    expect(got).toEqual([1, 2]);
    subscription.unsubscribe();
    await ticks();
    expect(server.subscriptions).toEqual([]);
  });

  it('timeouts and pauses take as long as the clock says', async () => {
    const late = client.call('wait', undefined, { timeout: 5_000 }).catch(({ code }) => code as number);
    await ticks();
    vi.advanceTimersByTime(5_000);
    expect(await late).toBe(408);
    server.disconnect();
    await ticks();
    expect(client.state.status).toBe('waiting');
    vi.advanceTimersByTime(500);
    await ticks();
    expect(client.state.status).toBe('open');
  });

  it('answers come in parts', async () => {
    server.handle('count', async function* (to) {
      for (let n = 1; n <= to; n++) yield n;
      return 'all';
    });
    const answer = stream(client, 'count', 100, { parts: 3 });
    const got: number[] = [];
    for await (const part of answer) got.push(part);
    expect([got.length, got.at(-1), await answer.result]).toEqual([100, 100, 'all']);
  });

  it('it closes', async () => {
    await client.call('add', [1, 2]);
    await client.close();
    expect(server.connections).toBe(0);
  });
});
