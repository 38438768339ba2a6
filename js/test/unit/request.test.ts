import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, JugglerError, type ClientOptions } from '../../src/index.js';
import { Script } from '../support/script.js';

let script: Script;

function make(options: ClientOptions = {}): Client {
  return new Client('ws://test/ws', { ...script.options, ...options });
}

/** A client with an open connection. */
function open(hello = {}, options: ClientOptions = {}): Client {
  const client = make(options);
  client.connect();
  script.socket.hello(hello);
  return client;
}

const pass = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

/** The reason a promise rejects with; looked at now, so that it is never unhandled. */
const reason = (promise: Promise<unknown>): Promise<any> =>
  promise.then(
    (value) => {
      throw new Error(`resolved to ${JSON.stringify(value)}`);
    },
    (error: unknown) => error,
  );

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(0.999999);
  script = new Script();
});

afterEach(() => {
  expect(vi.getTimerCount(), 'timers left by requests').toBeLessThanOrEqual(1);
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe('a call', () => {
  it('sends URI, args, headers and the time left, and resolves to the result', async () => {
    const client = open();
    const result = client.call('math.add', [1, 2], { timeout: 5_000, headers: { tenant: 'a' } });
    expect(script.socket.received).toEqual([
      { type: 'CALL', id: '1', uri: 'math.add', args: [1, 2], headers: { tenant: 'a' }, timeout: 5_000 },
    ]);
    script.socket.ack('CALL').say({ type: 'RES', for: '1', args: 3 });
    expect(await result).toBe(3);
  });

  it('without args or result has none', async () => {
    const client = open();
    const result = client.call('x');
    expect(script.socket.last('CALL')).toEqual({ type: 'CALL', id: '1', uri: 'x', timeout: 30_000 });
    script.socket.ack('CALL').say({ type: 'RES', for: '1' });
    expect(await result).toBeUndefined();
  });

  it.each([null, 0, '', false, [], {}, 'ünï 💥 \u2028', '\ud800', { ['__proto__']: { polluted: true } }])(
    'passes %j as it is',
    async (args) => {
      const client = open();
      const result = client.call('echo', args);
      script.socket.ack('CALL').say({ type: 'RES', for: '1', args: script.socket.last('CALL')['args'] });
      expect(JSON.stringify(await result)).toBe(JSON.stringify(args));
      expect(({} as any).polluted).toBeUndefined();
    },
  );

  it('takes its args at the time of the call', async () => {
    const client = make();
    const args = { n: 1 };
    void reason(client.call('x', args));
    args.n = 2;
    script.socket.hello();
    expect(script.socket.last('CALL')['args']).toEqual({ n: 1 });
    await client.close();
  });

  it('rejects args that JSON cannot say', async () => {
    const client = open();
    expect(await reason(client.call('x', 1n))).toMatchObject({ name: 'JugglerError', code: 400, cause: expect.any(TypeError) });
    expect(script.socket.received).toEqual([]);
  });

  it.each([0, -1, NaN, Infinity])('rejects a timeout of %d', async (timeout) => {
    expect(await reason(open().call('x', null, { timeout }))).toMatchObject({ name: 'JugglerError', code: 400 });
    expect(script.socket.received).toEqual([]);
  });

  it('takes a timeout that no timer can hold', async () => {
    const client = open();
    const result = client.call('x', null, { timeout: 1e12 });
    await pass(1_000);
    script.socket.say({ type: 'RES', for: '1', args: 1 });
    expect(await result).toBe(1);
  });

  it('answers in any order reach the right call', async () => {
    const client = open();
    const results = [1, 2, 3].map((n) => client.call('x', n));
    script.socket.ack('CALL');
    for (const id of ['3', '1', '2']) script.socket.say({ type: 'RES', for: id, args: `r${id}` });
    expect(await Promise.all(results)).toEqual(['r1', 'r2', 'r3']);
  });
});

describe('an error', () => {
  it.each([
    [400, false], [401, false], [403, false], [404, true], [413, false], [429, true], [500, false], [503, true],
  ])('NACK %i is certainly not done; retryable: %s', async (code, retryable) => {
    const client = open();
    const error = reason(client.call('x', null, { wait: false }));
    script.socket.say({ type: 'NACK', for: '1', error: { code, message: 'why', retry_after: 250 } });
    expect(await error).toBeInstanceOf(JugglerError);
    expect(await error).toMatchObject({ code, message: 'why', outcome: 'refused', retryable, retryAfter: 250 });
  });

  it.each([
    [408, 'unknown', true], [422, 'failed', false], [499, 'failed', false],
    [500, 'failed', true], [502, 'unknown', true], [503, 'failed', true],
  ])('RES %i: outcome %s; retryable if idempotent: %s', async (code, outcome, retryable) => {
    const client = open();
    const errors = [false, true].map((idempotent) => reason(client.call('x', null, { idempotent })));
    for (const id of ['1', '2']) {
      script.socket.ack('CALL').say({ type: 'RES', for: id, error: { code, message: 'why', data: { a: 1 } } });
    }
    expect(await errors[0]).toMatchObject({ code, message: 'why', data: { a: 1 }, outcome, retryable: false });
    expect(await errors[1]).toMatchObject({ code, outcome, retryable });
  });

  it('has a name and a stack, and is an Error', () => {
    const error = new JugglerError(422, 'not a number', 'failed', { cause: 'x' });
    expect(error).toBeInstanceOf(Error);
    expect(String(error)).toBe('JugglerError: not a number');
    expect(error.cause).toBe('x');
  });
});

describe('time', () => {
  it('ends a call that is not answered, and cancels it', async () => {
    const client = open();
    const error = reason(client.call('x', null, { timeout: 1_000 }));
    script.socket.ack('CALL');
    await pass(1_000);
    expect(await error).toMatchObject({ code: 408, outcome: 'unknown', retryable: false });
    expect(script.socket.last('CANCEL')).toEqual({ type: 'CANCEL', for: '1' });
  });

  it('ends a call that was never sent, which may be repeated', async () => {
    const client = make();
    const error = reason(client.call('x', null, { timeout: 1_000 }));
    await pass(1_000);
    expect(await error).toMatchObject({ code: 408, outcome: 'refused', retryable: true });
    script.socket.hello();
    expect(script.socket.received).toEqual([]);
  });

  it('the error tells why there is no connection', async () => {
    const client = make({ backoff: { min: 10_000 }, timeout: 1_000 });
    const errors = [
      reason(client.call('x')),
      reason(client.subscribe('a', () => {}).ready),
    ];
    script.socket.drop(1013, 'overloaded');
    errors.push(reason(client.call('x', null, { wait: false })));
    await pass(1_000);
    for (const error of errors) expect(await error).toMatchObject({ cause: { code: 1013, message: 'overloaded' } });
    await client.close();
  });

  it('spent waiting for a connection is taken off', async () => {
    const client = make();
    void reason(client.call('x', null, { timeout: 5_000 }));
    await pass(2_000);
    script.socket.hello();
    expect(script.socket.last('CALL')['timeout']).toBe(3_000);
    await client.close();
  });

  it.each([-3_600_000, 3_600_000])('is not that of the clock, which may be set: by %d ms', async (jump) => {
    const client = make();
    const result = client.call('x', null, { timeout: 10_000, idempotent: true });
    vi.setSystemTime(Date.now() + jump);
    await pass(2_000);
    script.socket.hello();
    expect(script.socket.last('CALL')['timeout']).toBe(8_000);
    script.socket.say({ type: 'NACK', for: '1', error: { code: 503, message: 'full', retry_after: 5_000 } });
    vi.setSystemTime(Date.now() + jump);
    await pass(5_000);
    expect(script.socket.last('CALL')['timeout']).toBe(3_000);
    script.socket.say({ type: 'RES', for: '2', args: 'ok' });
    expect(await result).toBe('ok');
  });

  it('goes by the clock where there is none that is not set', async () => {
    vi.stubGlobal('performance', undefined);
    const client = make();
    const error = reason(client.call('x', null, { timeout: 5_000 }));
    await pass(2_000);
    script.socket.hello();
    expect(script.socket.last('CALL')['timeout']).toBe(3_000);
    await client.close();
    expect(await error).toMatchObject({ code: 1000 });
    vi.unstubAllGlobals();
  });

  it('is that of the client where the call names none', async () => {
    const error = reason(open({}, { timeout: 100 }).call('x'));
    expect(script.socket.last('CALL')['timeout']).toBe(100);
    await pass(100);
    expect(await error).toMatchObject({ code: 408 });
  });

  it('a late answer is dropped in silence', async () => {
    const client = open();
    const error = reason(client.call('x', null, { timeout: 10 }));
    script.socket.ack('CALL');
    await pass(10);
    await error;
    script.socket.say({ type: 'RES', for: '1', error: { code: 408, message: 'time is over' } });
    expect(script.logged).toEqual([]);
  });
});

describe('a signal', () => {
  it('cancels the call; it rejects with the reason, as fetch does', async () => {
    const client = open();
    const controller = new AbortController();
    const error = reason(client.call('x', null, { signal: controller.signal }));
    script.socket.ack('CALL');
    controller.abort();
    expect(await error).toBe(controller.signal.reason);
    expect((await error).name).toBe('AbortError');
    expect(script.socket.last('CANCEL')).toEqual({ type: 'CANCEL', for: '1' });
    script.socket.say({ type: 'RES', for: '1', error: { code: 499, message: 'cancelled' } });
    expect(script.logged).toEqual([]);
  });

  it('that has no reason, as in React Native, rejects with 499', async () => {
    const client = open();
    const signal = Object.assign(new EventTarget(), { aborted: false });
    const error = reason(client.call('x', null, { signal: signal as AbortSignal }));
    signal.aborted = true;
    signal.dispatchEvent(new Event('abort'));
    expect(await error).toMatchObject({ name: 'JugglerError', code: 499 });
    expect(await reason(client.call('x', null, { signal: signal as AbortSignal }))).toMatchObject({ code: 499 });
    expect(script.socket.all('CALL')).toHaveLength(1);
  });

  it('aborted before: nothing is sent', async () => {
    const client = open();
    expect(await reason(client.call('x', null, { signal: AbortSignal.abort('no') }))).toBe('no');
    expect(script.socket.received).toEqual([]);
  });

  it('aborted while waiting for a connection: nothing is sent', async () => {
    const client = make();
    const controller = new AbortController();
    const error = reason(client.call('x', null, { signal: controller.signal }));
    controller.abort('changed my mind');
    expect(await error).toBe('changed my mind');
    script.socket.hello();
    expect(script.socket.received).toEqual([]);
  });

  it('aborted after the end does nothing', async () => {
    const client = open();
    const controller = new AbortController();
    const result = client.call('x', null, { signal: controller.signal });
    script.socket.ack('CALL').say({ type: 'RES', for: '1', args: 1 });
    await result;
    controller.abort();
    expect(script.socket.all('CANCEL')).toEqual([]);
  });
});

describe('one signal for many', () => {
  it('has one listener, as Node warns at the eleventh, which keeps nothing alive', async () => {
    const client = open();
    const controller = new AbortController();
    const { signal } = controller;
    const added = vi.spyOn(signal, 'addEventListener');
    const results = Array.from({ length: 20 }, (_, n) => client.call('x', n, { signal }));
    const subs = Array.from({ length: 20 }, (_, n) => client.subscribe(`c${n}`, { signal }, () => {}));
    expect(added).toHaveBeenCalledTimes(1);
    for (const { id } of script.socket.all('CALL')) script.socket.say({ type: 'RES', for: id, args: id });
    await Promise.all(results);
    for (const sub of subs) sub.unsubscribe();
    const ended = vi.fn();
    subs.forEach((sub) => (sub.unsubscribe = ended));
    controller.abort();
    expect(ended).not.toHaveBeenCalled();
    expect(script.socket.all('CANCEL')).toEqual([]);
    expect(added).toHaveBeenCalledTimes(1);
  });

  it('ends all that depend on it', async () => {
    const client = open();
    const controller = new AbortController();
    const errors = [1, 2, 3].map((n) => reason(client.call('x', n, { signal: controller.signal })));
    controller.abort('enough');
    expect(await Promise.all(errors)).toEqual(['enough', 'enough', 'enough']);
    expect(script.socket.all('CANCEL')).toHaveLength(3);
  });
});

describe('without a connection', () => {
  it('requests wait, and are sent in their order', async () => {
    const client = make();
    const all = [client.call('a'), client.publish('b', 1), client.call('c')];
    all.forEach((promise) => promise.catch(() => {}));
    script.socket.hello();
    expect(script.socket.received.map((m) => m['uri'] ?? m['channel'])).toEqual(['a', 'b', 'c']);
    await client.close();
  });

  it('a request that may not wait fails at once, and the client connects', async () => {
    const client = make();
    const error = reason(client.call('x', null, { wait: false }));
    expect(await error).toMatchObject({ code: 503, outcome: 'refused', retryable: true });
    expect(client.state.status).toBe('connecting');
  });

  it('a closing one is none', async () => {
    const client = open();
    script.socket.readyState = 2;
    expect(await reason(client.call('x', null, { wait: false }))).toMatchObject({ code: 503, outcome: 'refused' });
  });

  it('no more wait than allowed', async () => {
    const client = make({ queueLimit: 2 });
    void reason(client.call('a'));
    void reason(client.call('b'));
    expect(await reason(client.call('c'))).toMatchObject({ code: 429, outcome: 'refused', retryable: true });
    await client.close();
  });
});

describe('a lost connection', () => {
  it('leaves the outcome of a call unknown; it is not repeated', async () => {
    const client = open();
    const acked = reason(client.call('acked'));
    script.socket.ack('CALL');
    const sent = reason(client.call('sent'));
    script.socket.drop(1006, 'network');
    for (const error of [acked, sent]) {
      expect(await error).toMatchObject({ code: 1006, outcome: 'unknown', retryable: false, message: 'outcome unknown: network' });
    }
    await pass(500);
    script.socket.hello();
    expect(script.socket.received).toEqual([]);
  });

  it('leaves the outcome of a publication unknown too', async () => {
    const client = open();
    const error = reason(client.publish('x', 1));
    script.socket.drop(1012);
    expect(await error).toMatchObject({ code: 1012, outcome: 'unknown' });
    await pass(500);
  });

  it('an idempotent call is sent again, with the time that is left', async () => {
    const client = open();
    const result = client.call('x', 7, { idempotent: true, timeout: 5_000 });
    script.socket.drop();
    await pass(500);
    script.socket.hello();
    expect(script.socket.last('CALL')).toMatchObject({ uri: 'x', args: 7, timeout: 4_500 });
    script.socket.say({ type: 'RES', for: '1', args: 'done' });
    expect(await result).toBe('done');
  });

  it('an idempotent call that is not answered in time may have been done', async () => {
    const client = open();
    const error = reason(client.call('x', 7, { idempotent: true, timeout: 100 }));
    script.socket.drop();
    await pass(100);
    expect(await error).toMatchObject({ code: 408, outcome: 'unknown', retryable: true });
    await pass(400);
  });

  it('an idempotent call that is refused when it is sent again may have been done', async () => {
    const client = open();
    const error = reason(client.call('x', 7, { idempotent: true }));
    script.socket.drop();
    await pass(500);
    script.socket.hello().say({ type: 'NACK', for: '1', error: { code: 404, message: 'nobody', data: 1 } });
    expect(await error).toMatchObject({ code: 404, message: 'nobody', data: 1, outcome: 'unknown', retryable: true });
  });

  it('an idempotent call with which the server closes twice as a mistake is not sent a third time', async () => {
    const client = open();
    const error = reason(client.call('x', 7, { idempotent: true }));
    script.socket.drop(1002, 'what is this?');
    await pass(500);
    script.socket.hello();
    expect(script.socket.all('CALL')).toHaveLength(1);
    script.socket.drop(1002, 'what is this?');
    expect(await error).toMatchObject({ code: 1002, outcome: 'unknown' });
    await pass(1_000);
    script.socket.hello();
    expect(script.socket.received).toEqual([]);
  });

  it('an idempotent call that cannot be sent again may have been done', async () => {
    const client = open();
    const error = reason(client.call('x', 7, { idempotent: true }));
    script.socket.drop(4403);
    expect(await error).toMatchObject({ code: 4403, outcome: 'unknown' });
  });

  it('a request is not given to a socket that is closing', async () => {
    const client = open();
    script.socket.readyState = 2;
    const result = client.call('x');
    script.socket.drop();
    await pass(500);
    script.socket.hello().say({ type: 'RES', for: '1', args: 'ok' });
    expect(await result).toBe('ok');
  });
});

describe('retry_after', () => {
  it('is waited for, within the timeout', async () => {
    const client = open();
    const result = client.call('x', 1, { timeout: 1_000 });
    script.socket.say({ type: 'NACK', for: '1', error: { code: 503, message: 'full', retry_after: 250 } });
    await pass(249);
    expect(script.socket.all('CALL')).toHaveLength(1);
    await pass(1);
    expect(script.socket.last('CALL')).toMatchObject({ id: '2', args: 1, timeout: 750 });
    script.socket.ack('CALL').say({ type: 'RES', for: '2', args: 'ok' });
    expect(await result).toBe('ok');
  });

  it('makes room for another call meanwhile', async () => {
    const client = open({ limits: { calls: 1 } });
    const first = client.call('a');
    const second = client.call('b');
    script.socket.say({ type: 'NACK', for: '1', error: { code: 503, message: 'full', retry_after: 250 } });
    expect(script.socket.last('CALL')['uri']).toBe('b');
    await pass(250); // The first waits for the second now.
    script.socket.say({ type: 'RES', for: '2', args: 'b' }).say({ type: 'RES', for: '3', args: 'a' });
    expect(await Promise.all([first, second])).toEqual(['a', 'b']);
  });

  it('beyond the timeout is the end', async () => {
    const client = open();
    const error = reason(client.call('x', 1, { timeout: 1_000 }));
    script.socket.say({ type: 'NACK', for: '1', error: { code: 429, message: 'slow down', retry_after: 1_000 } });
    expect(await error).toMatchObject({ code: 429, retryAfter: 1_000, retryable: true });
  });

  it('of a callee is not waited for, as the call was done', async () => {
    const client = open();
    const error = reason(client.call('x'));
    script.socket.ack('CALL').say({ type: 'RES', for: '1', error: { code: 503, message: 'busy', retry_after: 10 } });
    expect(await error).toMatchObject({ code: 503, outcome: 'failed' });
  });

  it('ends with the call', async () => {
    const client = open();
    const controller = new AbortController();
    const error = reason(client.call('x', 1, { signal: controller.signal }));
    script.socket.say({ type: 'NACK', for: '1', error: { code: 503, message: 'full', retry_after: 250 } });
    controller.abort();
    await error;
    await pass(250);
    expect(script.socket.all('CALL')).toHaveLength(1);
  });
});

describe("the server's limits", () => {
  it('no more calls than allowed are under way; publications pass them', async () => {
    const client = open({ limits: { calls: 2 } });
    const results = [0, 1, 2, 3].map((n) => client.call('x', n));
    const published = client.publish('news', 1);
    expect(script.socket.all('CALL').map((m) => m['args'])).toEqual([0, 1]);
    script.socket.ack('PUB').ack('CALL');
    await published;
    for (const id of ['2', '1', '4', '5']) script.socket.say({ type: 'RES', for: id, args: id });
    expect(script.socket.all('CALL').map((m) => m['args'])).toEqual([0, 1, 2, 3]);
    expect(await Promise.all(results)).toEqual(['1', '2', '4', '5']);
  });

  it('a call given up counts until the server has ended it', async () => {
    const client = open({ limits: { calls: 1 } });
    const error = reason(client.call('a', null, { timeout: 100 }));
    const next = client.call('b');
    await pass(100);
    await error;
    expect(script.socket.received.map((m) => m['type'])).toEqual(['CALL', 'CANCEL']);
    script.socket.say({ type: 'RES', for: '1', error: { code: 499, message: 'cancelled' } });
    expect(script.socket.last('CALL')['uri']).toBe('b');
    script.socket.say({ type: 'RES', for: '2', args: 'ok' });
    expect(await next).toBe('ok');
  });

  it('a call that asks for more time than allowed is refused here', async () => {
    const client = open({ limits: { timeout: 1_000 } });
    const error = await reason(client.call('x', null, { timeout: 1_001 }));
    expect(error).toMatchObject({ code: 400, outcome: 'refused', message: 'timeout: the server allows 1000 ms' });
    const fits = client.call('x', null, { timeout: 1_000 });
    script.socket.say({ type: 'RES', for: '1', args: 'ok' });
    expect(await fits).toBe('ok');
    const published = client.publish('x', null, { timeout: 1_001 });
    script.socket.ack('PUB');
    await published;
  });

  it('a call that is refused here leaves its place to the next', async () => {
    const client = open({ limits: { calls: 1, message: 100 } });
    const results = [client.call('a'), client.call('b', 'x'.repeat(100)), client.call('c')];
    const refused = reason(results[1]!);
    script.socket.say({ type: 'RES', for: '1', args: 'a' });
    expect(await refused).toMatchObject({ code: 413 });
    expect(script.socket.last('CALL')['uri']).toBe('c');
    script.socket.say({ type: 'RES', for: script.socket.last('CALL')['id'], args: 'c' });
    expect(await results[2]).toBe('c');
  });

  it.each(['x', 'é', '中', '💥'])('a message of %j beyond the limit is refused here, as the server would close', async (char) => {
    const limit = 1_000;
    const client = open({ limits: { message: limit } });
    const bytes = (args: string): number =>
      Buffer.byteLength(JSON.stringify({ type: 'CALL', id: '1', uri: 'x', args, timeout: 1_000 }));
    let args = char.repeat(100);
    while (bytes(args + char) <= limit) args += char;
    args = args.padEnd(args.length + limit - bytes(args), 'x');
    expect(bytes(args)).toBe(limit);
    const fits = client.call('x', args, { timeout: 1_000 });
    script.socket.say({ type: 'RES', for: '1', args: 'ok' });
    expect(await fits).toBe('ok');
    const error = await reason(client.call('x', `${args}x`, { timeout: 1_000 }));
    expect(error).toMatchObject({ code: 413, outcome: 'refused', retryable: false });
    expect(script.socket.received).toHaveLength(1);
  });
});

describe('a publication', () => {
  it('resolves at its ACK', async () => {
    const client = open();
    const published = client.publish('news', { title: 'x' }, { headers: { a: 'b' } });
    expect(script.socket.received).toEqual([
      { type: 'PUB', id: '1', channel: 'news', args: { title: 'x' }, headers: { a: 'b' } },
    ]);
    script.socket.ack('PUB');
    expect(await published).toBeUndefined();
  });

  it('rejects at its NACK', async () => {
    const client = open();
    const error = reason(client.publish('news', 1));
    script.socket.say({ type: 'NACK', for: '1', error: { code: 403, message: 'not allowed' } });
    expect(await error).toMatchObject({ code: 403, outcome: 'refused' });
  });

  it('that got NACK 500 may have been done', async () => {
    const client = open();
    for (const idempotent of [false, true]) {
      const error = reason(client.publish('news', 1, { idempotent }));
      script.socket.say({ type: 'NACK', for: script.socket.last('PUB')['id'], error: { code: 500, message: 'outcome unknown' } });
      expect(await error).toMatchObject({ code: 500, outcome: 'unknown', retryable: idempotent });
    }
  });

  it('is not cancelled at the server, which cannot', async () => {
    const client = open();
    const error = reason(client.publish('news', 1, { timeout: 10 }));
    await pass(10);
    expect(await error).toMatchObject({ code: 408, outcome: 'unknown' });
    expect(script.socket.all('CANCEL')).toEqual([]);
  });
});

describe('publications', () => {
  const sent = (socket = script.socket): unknown[] => socket.all('PUB').map((message) => message['args']);
  /** Answers the last PUB with these args. */
  const answer = (args: unknown, error?: object, socket = script.socket): void => {
    const { id } = socket.all('PUB').filter((message) => message['args'] === args).at(-1)!;
    socket.say(error ? { type: 'NACK', for: id, error } : { type: 'ACK', for: id });
  };
  const later = { code: 429, message: 'slow down', retry_after: 100 };

  it('keep their order when the server puts some off: they are sent again one by one', async () => {
    const client = open();
    const all = [1, 2, 3, 4].map((n) => client.publish('c', n));
    answer(1);
    for (const n of [2, 3, 4]) answer(n, later);
    const fifth = client.publish('c', 5);
    expect(sent()).toEqual([1, 2, 3, 4]);
    await pass(100);
    expect(sent()).toEqual([1, 2, 3, 4, 2]);
    answer(2, later); // Once more.
    await pass(100);
    for (const n of [2, 3, 4]) {
      expect(sent().at(-1)).toBe(n);
      answer(n);
    }
    answer(5);
    await Promise.all([...all, fifth]);
    const six = [client.publish('c', 6), client.publish('c', 7)];
    expect(sent().slice(-2)).toEqual([6, 7]); // All is well again.
    answer(6);
    answer(7);
    await Promise.all(six);
  });

  it('one that is put off while a later one is taken is rejected, not sent out of order', async () => {
    const client = open();
    const first = reason(client.publish('c', 1));
    const second = client.publish('c', 2);
    answer(1, later);
    answer(2);
    await second;
    expect(await first).toMatchObject({
      code: 429, outcome: 'refused', retryable: true, message: 'slow down; a later one was taken',
    });
    await pass(1_000);
    expect(sent()).toEqual([1, 2]);
  });

  it('one that is given up while it is put off lets the next go', async () => {
    const client = open();
    const controller = new AbortController();
    const first = reason(client.publish('c', 1, { signal: controller.signal }));
    answer(1, later);
    const second = client.publish('c', 2);
    expect(sent()).toEqual([1]);
    controller.abort('enough');
    expect(await first).toBe('enough');
    expect(sent()).toEqual([1, 2]);
    answer(2);
    await second;
  });

  it('calls pass them, and do not wait for a call that is put off', async () => {
    const client = open();
    const publication = client.publish('c', 1);
    answer(1, later);
    const calls = [client.call('a'), client.call('b')];
    const [a, b] = script.socket.all('CALL');
    script.socket.say({ type: 'NACK', for: a!['id'], error: later }).say({ type: 'RES', for: b!['id'], args: 'b' });
    expect(await calls[1]).toBe('b');
    await pass(100);
    script.socket.say({ type: 'RES', for: script.socket.last('CALL')['id'], args: 'a' });
    expect(await calls[0]).toBe('a');
    answer(1);
    await publication;
  });

  it('that are lost and may be repeated come before later ones', async () => {
    const client = open();
    const all = [1, 2].map((n) => client.publish('c', n, { idempotent: true }));
    script.socket.drop();
    all.push(client.publish('c', 3));
    await pass(500);
    script.socket.hello();
    expect(sent()).toEqual([1, 2, 3]);
    for (const n of [1, 2, 3]) answer(n);
    await Promise.all(all);
  });

  it.each(['answered', 'lost'])('are not sent on a new connection before those on the old one are %s', async (end) => {
    const client = open();
    const first = client.publish('c', 1).catch(() => {});
    const old = script.socket.say({ type: 'GOAWAY' });
    await pass();
    script.socket.hello();
    const second = client.publish('c', 2);
    expect(sent()).toEqual([]);
    if (end === 'answered') answer(1, undefined, old);
    else old.drop();
    await first;
    expect(sent()).toEqual([2]);
    answer(2);
    await second;
  });
});

describe('what is sent and not answered', () => {
  it('is bounded: 128 publications', async () => {
    const client = open();
    const all = Array.from({ length: 300 }, (_, n) => client.publish('c', n));
    expect(script.socket.all('PUB')).toHaveLength(128);
    script.socket.say({ type: 'ACK', for: '1' }).say({ type: 'ACK', for: '2' });
    expect(script.socket.all('PUB')).toHaveLength(130);
    for (let id = 3; id <= 300; id++) script.socket.say({ type: 'ACK', for: String(id) });
    await Promise.all(all);
    expect(script.socket.all('PUB').map((message) => message['args'])).toEqual(Array.from({ length: 300 }, (_, n) => n));
  });

  it('is bounded in length, but for a single one', async () => {
    const client = open();
    const large = 'x'.repeat(700_000);
    const all = [client.call('a', large), client.call('b', large), client.publish('c', 1)];
    expect(script.socket.received).toHaveLength(1);
    script.socket.say({ type: 'RES', for: '1' });
    expect(script.socket.received.map((message) => message['uri'] ?? message['channel'])).toEqual(['a', 'b', 'c']);
    script.socket.say({ type: 'RES', for: '2' }).say({ type: 'ACK', for: '3' });
    const huge = client.call('d', 'x'.repeat(2_000_000));
    script.socket.say({ type: 'RES', for: '4' });
    await Promise.all([...all, huge]);
  });

  it('can be awaited: drained()', async () => {
    const client = open({ limits: { calls: 1 } });
    await client.drained();
    const calls = [client.call('a'), client.call('b')];
    const drained = vi.fn();
    void client.drained().then(drained);
    await pass();
    expect(drained).not.toHaveBeenCalled();
    script.socket.say({ type: 'RES', for: '1' });
    await pass();
    expect(drained).toHaveBeenCalled();
    script.socket.say({ type: 'RES', for: '2' });
    await Promise.all(calls);
  });

  it('drained() resolves when what waited was given up, or the client closed', async () => {
    const client = make();
    const given = reason(client.call('a', null, { timeout: 10 }));
    const drained = client.drained();
    await pass(10);
    await drained;
    expect(await given).toMatchObject({ code: 408 });
    void reason(client.call('b'));
    const closed = client.drained();
    await client.close();
    await closed;
  });

  it('what waits is bounded in length, too', async () => {
    const client = make({ queueSize: 1_000 });
    void reason(client.call('a', 'x'.repeat(600)));
    expect(await reason(client.call('b', 'x'.repeat(600)))).toMatchObject({ code: 429, outcome: 'refused' });
    await client.close();
  });
});
