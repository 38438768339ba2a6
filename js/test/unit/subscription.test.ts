import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, type ClientOptions, type JugglerError } from '../../src/index.js';
import { Script, type Message } from '../support/script.js';

let script: Script;

function open(options: ClientOptions = {}): Client {
  const client = new Client('ws://test/ws', { ...script.options, ...options });
  client.connect();
  script.socket.hello();
  return client;
}

const pass = (ms = 0) => vi.advanceTimersByTimeAsync(ms);
const event = (channel: string, args: unknown, more: Message = {}): Message => ({
  type: 'EVNT',
  id: String(args),
  channel,
  args,
  ...more,
});

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(0.999999);
  script = new Script();
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe('several events in one message', () => {
  it('come in order, and the others of it end with what makes no sense', () => {
    const client = open();
    const got: unknown[] = [];
    client.subscribe('news', (e) => got.push(e.args));
    script.socket.ack('SUB');
    script.socket.say(JSON.stringify([event('news', 1), { type: 'GAP', channel: 'news' }, event('news', 2)]));
    expect(got).toEqual([1, 2]);
    script.socket.say(JSON.stringify([event('news', 3), 4, event('news', 5)]));
    expect(got).toEqual([1, 2, 3]);
    expect(client.state.status).toBe('waiting');
  });

  it('stop with the subscription', () => {
    const client = open();
    const got: unknown[] = [];
    const sub = client.subscribe('news', (e) => {
      got.push(e.args);
      sub.unsubscribe();
    });
    script.socket.ack('SUB');
    script.socket.say(JSON.stringify([event('news', 1), event('news', 2)]));
    expect(got).toEqual([1]);
  });
});

describe('subscribing', () => {
  it('is ready at the ACK, and gets the events of its channel', async () => {
    const client = open();
    const got: unknown[] = [];
    const sub = client.subscribe('news', (e) => got.push(e));
    expect(script.socket.received).toEqual([{ type: 'SUB', id: '1', channel: 'news' }]);
    const ready = vi.fn();
    void sub.ready.then(ready);
    await pass();
    expect(ready).not.toHaveBeenCalled();
    script.socket.ack('SUB');
    await pass();
    expect(ready).toHaveBeenCalled();
    await sub.ready;
    script.socket.say(event('news', 1, { headers: { user: 'u' } })).say(event('other', 2));
    expect(got).toEqual([{ type: 'EVNT', id: '1', channel: 'news', args: 1, headers: { user: 'u' } }]);
  });

  it('connects at the first', () => {
    const client = new Client('ws://test/ws', script.options);
    client.subscribe('news', () => {});
    expect(client.state.status).toBe('connecting');
    script.socket.hello();
    expect(script.socket.last('SUB')['channel']).toBe('news');
  });

  it('a pattern and a channel that are written the same are two', () => {
    const client = open();
    const [exact, pattern] = [vi.fn(), vi.fn()];
    client.subscribe('a*', exact);
    client.subscribe('a*', { pattern: true }, pattern);
    expect(script.socket.all('SUB')).toEqual([
      { type: 'SUB', id: '1', channel: 'a*' },
      { type: 'SUB', id: '2', channel: 'a*', pattern: true },
    ]);
    script.socket.ack('SUB').say(event('ab', 1, { pattern: 'a*' })).say(event('a*', 2));
    expect(exact.mock.calls.flat()).toMatchObject([{ channel: 'a*', args: 2 }]);
    expect(pattern.mock.calls.flat()).toMatchObject([{ channel: 'ab', pattern: 'a*', args: 1 }]);
  });

  it('several local ones share one at the server, until the last ends', async () => {
    const client = open();
    const [a, b] = [vi.fn(), vi.fn()];
    const subA = client.subscribe('news', a);
    script.socket.ack('SUB');
    const subB = client.subscribe('news', b);
    await subB.ready;
    script.socket.say(event('news', 1));
    subA.unsubscribe();
    subA.unsubscribe();
    script.socket.say(event('news', 2));
    await pass();
    expect(a).toHaveBeenCalledTimes(1);
    expect(b).toHaveBeenCalledTimes(2);
    expect(script.socket.received).toHaveLength(1);
    subB.unsubscribe();
    script.socket.say(event('news', 3));
    await pass();
    expect(b).toHaveBeenCalledTimes(2);
    expect(script.socket.last('UNSB')).toEqual({ type: 'UNSB', id: '2', channel: 'news' });
  });

  it('the same handler twice is two subscriptions', () => {
    const client = open();
    const handler = vi.fn();
    client.subscribe('news', handler);
    client.subscribe('news', handler);
    script.socket.ack('SUB').say(event('news', 1));
    expect(handler).toHaveBeenCalledTimes(2);
  });

  it('ending one and beginning another in the same task costs nothing', async () => {
    const client = open();
    client.subscribe('news', () => {}).unsubscribe();
    const handler = vi.fn();
    client.subscribe('news', handler);
    await pass();
    expect(script.socket.received).toHaveLength(1);
    script.socket.ack('SUB').say(event('news', 1));
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('a later one begins anew at the server', async () => {
    const client = open();
    client.subscribe('news', () => {}).unsubscribe();
    await pass();
    client.subscribe('news', () => {});
    expect(script.socket.received.map((m) => m['type'])).toEqual(['SUB', 'UNSB', 'SUB']);
  });

  it('ends with its signal', async () => {
    const client = open();
    const controller = new AbortController();
    const handler = vi.fn();
    client.subscribe('news', { signal: controller.signal }, handler);
    script.socket.ack('SUB');
    controller.abort();
    await pass();
    expect(script.socket.all('UNSB')).toHaveLength(1);
    await expect(client.subscribe('other', { signal: controller.signal }).ready).rejects.toMatchObject({ code: 1000 });
    expect(script.socket.all('SUB')).toHaveLength(1);
  });

  it('whose signal was aborted before is never asked for', async () => {
    const client = new Client('ws://test/ws', script.options);
    client.subscribe('news', { signal: AbortSignal.abort() }, () => {});
    expect(client.state.status).toBe('closed');
    client.connect();
    script.socket.hello();
    expect(script.socket.received).toEqual([]);
    client.subscribe('news', { signal: AbortSignal.abort() }, () => {});
    script.socket.drop();
    await pass(500);
    script.socket.hello();
    expect(script.socket.received).toEqual([]);
  });

  it('ends with `using`', async () => {
    const client = open();
    {
      using sub = client.subscribe('news', () => {});
      expect(sub.channel).toBe('news');
    }
    await pass();
    expect(script.socket.all('UNSB')).toHaveLength(1);
  });

  it('a handler hears nothing after another one ended its subscription', () => {
    const client = open();
    const [onEvent, onGap] = [vi.fn(), vi.fn()];
    client.subscribe('news', { onGap: () => later.unsubscribe() }, () => last.unsubscribe());
    const last = client.subscribe('news', onEvent);
    const later = client.subscribe('news', { onGap }, () => {});
    script.socket.ack('SUB').say(event('news', 1)).say({ type: 'GAP', channel: 'news' });
    expect(onEvent).not.toHaveBeenCalled();
    expect(onGap).not.toHaveBeenCalled();
  });

  it('a handler that throws is reported and harms nobody', () => {
    const client = open();
    const errors: JugglerError[] = [];
    client.on('error', (error) => errors.push(error));
    const other = vi.fn();
    client.subscribe('news', () => {
      throw new TypeError('oops');
    });
    client.subscribe('news', other);
    script.socket.ack('SUB').say(event('news', 1)).say(event('news', 2));
    expect(other).toHaveBeenCalledTimes(2);
    expect(errors).toHaveLength(2);
    expect(errors[0]).toMatchObject({ message: 'a handler of news threw: TypeError: oops', cause: new TypeError('oops') });
  });
});

describe('a refused subscription', () => {
  it('rejects ready, tells onError and ends', async () => {
    const client = open();
    const onError = vi.fn();
    const sub = client.subscribe('secret', { onError }, () => {});
    const ready = sub.ready;
    ready.catch(() => {});
    script.socket.say({ type: 'NACK', for: '1', error: { code: 403, message: 'not allowed' } });
    await expect(ready).rejects.toMatchObject({ code: 403, message: 'not allowed' });
    await expect(sub.ready).rejects.toMatchObject({ code: 403 });
    expect(onError).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: 403 }));
    await pass();
    expect(script.socket.received).toHaveLength(1);
    client.subscribe('secret', () => {});
    expect(script.socket.all('SUB')).toHaveLength(2);
  });

  it('is no unhandled rejection when nobody waits for ready', async () => {
    const unhandled = vi.fn();
    process.on('unhandledRejection', unhandled);
    const sub = open().subscribe('secret', () => {});
    JSON.stringify([sub.ready]); // As a logger may look at it.
    script.socket.say({ type: 'NACK', for: '1', error: { code: 403, message: 'not allowed' } });
    vi.useRealTimers();
    await new Promise((resolve) => setImmediate(resolve));
    process.off('unhandledRejection', unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });

  it.each([429, 503])('is asked for again after %i', async (code) => {
    const client = open();
    const sub = client.subscribe('news', () => {});
    const ready = sub.ready;
    script.socket.say({ type: 'NACK', for: '1', error: { code, message: 'later', retry_after: 250 } });
    await pass(249);
    expect(script.socket.all('SUB')).toHaveLength(1);
    await pass(1);
    expect(script.socket.all('SUB')).toHaveLength(2);
    script.socket.say({ type: 'ACK', for: '2' });
    await ready;
  });

  it('is not asked for at once after a time that no timer can hold', async () => {
    const client = open();
    client.subscribe('news', () => {});
    script.socket.say({ type: 'NACK', for: '1', error: { code: 503, message: 'later', retry_after: 1e12 } });
    await pass(1_000);
    expect(script.socket.all('SUB')).toHaveLength(1);
  });

  it('is asked for less and less often, and reported once, when the server gives no time', async () => {
    const client = open();
    const errors = vi.fn();
    client.on('error', errors);
    client.subscribe('news', () => {});
    const pauses: number[] = [];
    for (let i = 0; i < 7; i++) {
      const asked = script.socket.all('SUB').length;
      script.socket.say({ type: 'NACK', for: script.socket.last('SUB')['id'], error: { code: 500, message: 'oops' } });
      let pause = 0;
      while (script.socket.all('SUB').length === asked) {
        await pass(1_000);
        script.socket.say({ type: 'PING' });
        pause += 1_000;
      }
      pauses.push(pause);
    }
    expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    expect(errors).toHaveBeenCalledTimes(1);
    script.socket.say({ type: 'ACK', for: script.socket.last('SUB')['id'] });
    script.socket.drop();
    await pass(500);
    script.socket.hello().say({ type: 'NACK', for: '1', error: { code: 500, message: 'oops' } });
    await pass(1_000);
    expect(script.socket.all('SUB')).toHaveLength(2);
  });

  it('for good, as far as the server says, is told once and comes back when it may', async () => {
    const client = open();
    const [errors, onError, handler] = [vi.fn(), vi.fn(), vi.fn()];
    client.on('error', errors);
    const sub = client.subscribe('secret', { onError }, handler);
    const pauses: number[] = [];
    for (let i = 0; i < 10; i++) {
      const asked = script.socket.all('SUB').length;
      const ready = sub.ready;
      script.socket.say({ type: 'NACK', for: script.socket.last('SUB')['id'], error: { code: 403, message: 'no' } });
      await expect(ready).rejects.toMatchObject({ code: 403 });
      await expect(sub.ready).rejects.toMatchObject({ code: 403 });
      let pause = 0;
      while (script.socket.all('SUB').length === asked) {
        await pass(1_000);
        script.socket.say({ type: 'PING' });
        pause++;
      }
      pauses.push(pause);
    }
    expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
    expect(onError).toHaveBeenCalledTimes(1);
    expect(errors).not.toHaveBeenCalled(); // ready tells.
    script.socket.say({ type: 'ACK', for: script.socket.last('SUB')['id'] });
    await sub.ready;
    script.socket.say(event('secret', 1));
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('comes back after a sign-in, and ready waits for that', async () => {
    const client = open();
    const onError = vi.fn();
    const sub = client.subscribe('secret', { onError }, () => {});
    script.socket.say({ type: 'NACK', for: '1', error: { code: 403, message: 'no' } }).drop(4403);
    client.connect();
    script.socket.hello();
    const ready = sub.ready;
    script.socket.ack('SUB');
    await ready;
    script.socket.drop();
    await pass(2_000);
    script.socket.hello().say({ type: 'NACK', for: '1', error: { code: 403, message: 'no more' } });
    expect(onError).toHaveBeenCalledTimes(2); // It was confirmed in between.
  });

  it.each([400, 413])('that cannot be asked for (%i) has ended', async (code) => {
    const client = open();
    const sub = client.subscribe('x', () => {});
    script.socket.say({ type: 'NACK', for: '1', error: { code, message: 'a name is too long' } });
    await expect(sub.ready).rejects.toMatchObject({ code });
    await pass(20_000);
    expect(script.socket.all('SUB')).toHaveLength(1);
  });

  it('is asked for after longer pauses each time, if the server always says the same', async () => {
    open().subscribe('news', () => {});
    const times: number[] = [];
    for (let t = 0; t < 40_000; t += 100) {
      const sub = script.socket.last('SUB');
      if (times.length < script.socket.all('SUB').length) {
        times.push(t);
        script.socket.say({ type: 'NACK', for: sub['id'], error: { code: 429, message: 'too many', retry_after: 1_000 } });
      }
      script.socket.say({ type: 'PING' });
      await pass(100);
    }
    expect(times).toEqual([0, 1_000, 3_000, 7_000, 15_000, 31_000]);
  });

  it('is not asked for again once it ended', async () => {
    const client = open();
    const sub = client.subscribe('news', () => {});
    script.socket.say({ type: 'NACK', for: '1', error: { code: 503, message: 'later', retry_after: 250 } });
    sub.unsubscribe();
    await pass(1_000);
    expect(script.socket.received.map((m) => m['type'])).toEqual(['SUB']);
  });

  it('that is too long for the server is refused here', async () => {
    const client = new Client('ws://test/ws', script.options);
    client.connect();
    script.socket.hello({ limits: { message: 100 } });
    await expect(client.subscribe('x'.repeat(200)).ready).rejects.toMatchObject({ code: 413 });
  });
});

describe('more subscriptions than the server allows', () => {
  function crowded() {
    const client = new Client('ws://test/ws', script.options);
    client.connect();
    script.socket.hello({ limits: { subscriptions: 2 } });
    const errors = vi.fn();
    client.on('error', errors);
    const told: string[] = [];
    const subs = ['a', 'b', 'c', 'd'].map((channel) =>
      client.subscribe(channel, { onError: ({ code, message }) => told.push(`${code} ${message}`) }, () => {}),
    );
    return { client, errors, told, subs };
  }
  const asked = (): string[] => script.socket.all('SUB').map((message) => message['channel'] as string);

  it('are told so once, and asked for when there is room', async () => {
    const { client, errors, told, subs } = crowded();
    script.socket.ack('SUB');
    expect(asked()).toEqual(['a', 'b']);
    expect(told).toEqual(['429 c: the server allows 2 subscriptions', '429 d: the server allows 2 subscriptions']);
    expect(errors.mock.calls.flat()).toMatchObject([{ code: 429, retryable: true }, { code: 429 }]);
    const [late, ready] = [client.subscribe('late', () => {}), subs[2]!.ready];
    const error = late.ready.catch((reason: unknown) => reason);
    await pass(20_000);
    expect(asked()).toEqual(['a', 'b']);
    late.unsubscribe();
    expect(await error).toMatchObject({ code: 1000 });
    subs[0]!.unsubscribe();
    await pass();
    expect(asked()).toEqual(['a', 'b', 'c']);
    script.socket.ack('SUB');
    await ready;
    subs[1]!.unsubscribe();
    subs[2]!.unsubscribe();
    await pass();
    expect(asked()).toEqual(['a', 'b', 'c', 'd']);
    expect(told).toHaveLength(2);
    await client.close();
  });

  it('ready that is not in time says why', async () => {
    const client = new Client('ws://test/ws', { ...script.options, timeout: 1_000 });
    client.connect();
    script.socket.hello({ limits: { subscriptions: 1 } });
    client.subscribe('a', () => {});
    const error = client.subscribe('b').ready.catch((reason: unknown) => reason);
    script.socket.ack('SUB');
    await pass(1_000);
    expect(await error).toMatchObject({ code: 408, cause: { code: 429, message: 'b: the server allows 1 subscriptions' } });
    await client.close();
  });

  it('a refused one leaves its place; a loop ends; one that is gone is not asked for', async () => {
    const { client, subs } = crowded();
    await expect(client.subscribe('e').next()).rejects.toMatchObject({ code: 429 });
    const waiting = new Client('ws://test/ws', script.options);
    const next = [waiting.subscribe('a'), waiting.subscribe('b')].map((sub) => sub.next());
    next.forEach((promise) => promise.catch(() => {}));
    const [first] = script.sockets;
    script.socket.hello({ limits: { subscriptions: 1 } });
    await expect(next[1]).rejects.toMatchObject({ code: 429 });
    await waiting.close();
    script.sockets.splice(0, 2, first!);
    subs[2]!.unsubscribe();
    await pass();
    script.socket.say({ type: 'NACK', for: '1', error: { code: 403, message: 'no' } });
    expect(asked()).toEqual(['a', 'b', 'd']);
    await client.close();
  });

  it('find room on the next connection', async () => {
    const { client, subs } = crowded();
    script.socket.drop();
    await pass(500);
    script.socket.hello({ limits: { subscriptions: 3 } }).ack('SUB');
    expect(asked()).toEqual(['a', 'b', 'c']);
    await subs[2]!.ready;
    await client.close();
  });
});

describe('ready', () => {
  it('rejects when time is over; the client goes on trying', async () => {
    const client = new Client('ws://test/ws', { ...script.options, timeout: 1_000 });
    const sub = client.subscribe('news', () => {});
    const ready = sub.ready;
    ready.catch(() => {});
    await pass(1_000);
    await expect(ready).rejects.toMatchObject({ code: 408 });
    script.socket.hello().ack('SUB');
    await sub.ready;
    expect(vi.getTimerCount()).toBe(1); // The connection's liveness.
  });

  it('rejects when the subscription ends, or the client', async () => {
    const client = open();
    const one = client.subscribe('a', () => {});
    const two = client.subscribe('b', () => {});
    const ready = [one.ready, two.ready];
    ready.forEach((promise) => promise.catch(() => {}));
    one.unsubscribe();
    await client.close();
    await expect(ready[0]).rejects.toMatchObject({ code: 1000, message: 'a: unsubscribed' });
    await expect(ready[1]).rejects.toMatchObject({ code: 1000, message: 'the client was closed' });
  });
});

describe('onReady', () => {
  it('tells of each confirmation: the first, of others, after a refusal, after a reconnection', async () => {
    const client = open();
    const told: string[] = [];
    const subscribe = (name: string) => client.subscribe('news', { onReady: () => told.push(name) }, () => {});
    subscribe('a');
    await pass();
    expect(told).toEqual([]);
    script.socket.say({ type: 'NACK', for: '1', error: { code: 403, message: 'no' } });
    await pass(1_000);
    expect(told).toEqual([]);
    script.socket.say({ type: 'ACK', for: '2' });
    expect(told).toEqual(['a']);
    subscribe('b');
    await pass();
    expect(told).toEqual(['a', 'b']);
    script.socket.drop();
    await pass(1_000);
    script.socket.hello().ack('SUB');
    expect(told).toEqual(['a', 'b', 'a', 'b']);
    subscribe('gone').unsubscribe();
    await pass();
    expect(told.length).toBe(4);
  });
});

describe('a client that has stopped', () => {
  it('rejects ready, ends loops, and lets handlers wait for connect()', async () => {
    const client = open();
    script.socket.drop(4400, 'who?');
    const handler = vi.fn();
    const handled = client.subscribe('a', handler);
    await expect(handled.ready).rejects.toMatchObject({ code: 4400 });
    await expect(client.subscribe('a').next()).rejects.toMatchObject({ code: 4400 });
    expect(script.sockets).toHaveLength(1);
    client.connect();
    script.socket.hello().ack('SUB').say(event('a', 1));
    await handled.ready;
    expect(handler).toHaveBeenCalledTimes(1);
  });
});

describe('a lost connection', () => {
  it('restores subscriptions, and tells of the gap once they are', async () => {
    const client = open();
    const [onGap, gaps, handler] = [vi.fn(), vi.fn(), vi.fn()];
    client.on('gap', gaps);
    client.subscribe('news.*', { pattern: true, onGap }, handler);
    script.socket.ack('SUB').drop();
    await pass(500);
    script.socket.hello();
    expect(script.socket.received).toEqual([{ type: 'SUB', id: '1', channel: 'news.*', pattern: true }]);
    expect(onGap).not.toHaveBeenCalled();
    script.socket.ack('SUB');
    const gap = { channel: 'news.*', pattern: true, reason: 'reconnect' };
    expect(onGap).toHaveBeenCalledExactlyOnceWith(gap);
    expect(gaps).toHaveBeenCalledExactlyOnceWith(gap);
    script.socket.say(event('news.go', 1, { pattern: 'news.*' }));
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('before the first confirmation leaves no gap', async () => {
    const client = open();
    const onGap = vi.fn();
    const sub = client.subscribe('news', { onGap }, () => {});
    const ready = sub.ready;
    script.socket.drop();
    await pass(500);
    script.socket.hello().ack('SUB');
    await ready;
    expect(onGap).not.toHaveBeenCalled();
  });

  it('subscriptions come before the calls that wait', async () => {
    const client = open();
    client.subscribe('news', () => {});
    script.socket.drop();
    client.call('x').catch(() => {});
    await pass(500);
    script.socket.hello();
    expect(script.socket.received.map((m) => m['type'])).toEqual(['SUB', 'CALL']);
    await client.close();
  });

  it('a subscription that the server no longer allows ends', async () => {
    const client = open();
    const onError = vi.fn();
    client.subscribe('news', { onError }, () => {});
    script.socket.ack('SUB').drop();
    await pass(500);
    script.socket.hello().say({ type: 'NACK', for: '1', error: { code: 403, message: 'no more' } });
    expect(onError).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: 403 }));
  });
});

describe('GAP', () => {
  it('is told to the subscriptions that it is about', () => {
    const client = open();
    const [exact, pattern, other] = [vi.fn(), vi.fn(), vi.fn()];
    client.subscribe('a', { onGap: exact }, () => {});
    client.subscribe('a', { pattern: true, onGap: pattern }, () => {});
    client.subscribe('b', { onGap: other }, () => {});
    script.socket.ack('SUB').say({ type: 'GAP', channel: 'a' });
    expect(exact).toHaveBeenCalledExactlyOnceWith({ channel: 'a', pattern: false, reason: 'server' });
    expect(pattern).not.toHaveBeenCalled();
    script.socket.say({ type: 'GAP', channel: 'a', pattern: true });
    expect(exact).toHaveBeenCalledTimes(1);
    expect(pattern).toHaveBeenCalledExactlyOnceWith({ channel: 'a', pattern: true, reason: 'server' });
    expect(other).not.toHaveBeenCalled();
  });
});

describe('moving to another connection', () => {
  /** A client on an old connection that it is to leave, and on a new one that is open. */
  async function moving() {
    const client = open();
    const got: unknown[] = [];
    const onGap = vi.fn();
    const sub = client.subscribe('news', { onGap }, ({ args }) => got.push(args));
    const old = script.socket.ack('SUB').say({ type: 'GOAWAY', after: 0 });
    await pass();
    const next = script.socket.hello();
    return { client, sub, got, onGap, old, next };
  }

  it('misses nothing, repeats nothing and keeps the order', async () => {
    const { got, onGap, old, next } = await moving();
    old.say(event('news', 1));
    next.ack('SUB').say(event('news', 3)).say(event('news', 4));
    expect(got).toEqual([1]);
    old.say(event('news', 2)); // From before the new one, on its way for long.
    old.say(event('news', 3)); // Now the old one has brought all that the new one has not.
    expect(got).toEqual([1, 2, 3, 4]);
    old.say(event('news', 4));
    next.say(event('news', 5));
    old.say(event('news', 5));
    expect(got).toEqual([1, 2, 3, 4, 5]);
    expect(old.closedWith).toBeUndefined();
    old.ack('UNSB');
    expect(old.closedWith?.code).toBe(1000);
    expect(onGap).not.toHaveBeenCalled();
  });

  it('repeats nothing when the new one is the slower', async () => {
    const { got, old, next } = await moving();
    old.say(event('news', 1)).say(event('news', 2));
    next.ack('SUB');
    old.say(event('news', 3)).say(event('news', 4));
    next.say(event('news', 2)); // The new one begins here.
    old.say(event('news', 5));
    next.say(event('news', 3)).say(event('news', 4)).say(event('news', 5)).say(event('news', 6));
    expect(got).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('repeats nothing that came before it was asked for', async () => {
    const client = open();
    const got: unknown[] = [];
    client.subscribe('news', ({ args }) => got.push(args));
    const old = script.socket.ack('SUB').say({ type: 'GOAWAY' });
    await pass();
    old.say(event('news', 1)); // The new connection is being opened.
    const next = script.socket.hello().ack('SUB').say(event('news', 1)).say(event('news', 2));
    old.say(event('news', 2));
    next.say(event('news', 3));
    expect(got).toEqual([1, 2, 3]);
  });

  it('takes some time when there are no events', async () => {
    const { got, onGap, old, next } = await moving();
    next.ack('SUB').say(event('news', 2));
    await pass(249);
    old.say(event('news', 1));
    expect(got).toEqual([1]);
    expect(old.all('UNSB')).toHaveLength(0);
    await pass(1);
    expect(got).toEqual([1, 2]);
    old.ack('UNSB');
    expect(old.closedWith?.code).toBe(1000);
    expect(onGap).not.toHaveBeenCalled();
  });

  it('tells of a gap when the old one is lost before it has brought all', async () => {
    const { got, onGap, old, next } = await moving();
    next.ack('SUB').say(event('news', 2));
    old.drop();
    expect(onGap).toHaveBeenCalledExactlyOnceWith({ channel: 'news', pattern: false, reason: 'reconnect' });
    expect(got).toEqual([2]);
    next.say(event('news', 3));
    await pass(1_000);
    expect(got).toEqual([2, 3]);
    expect(onGap).toHaveBeenCalledTimes(1);
  });

  it('tells of a gap when the old one is lost before the new one is confirmed', async () => {
    const { got, onGap, old, next } = await moving();
    old.drop();
    expect(onGap).not.toHaveBeenCalled();
    next.ack('SUB').say(event('news', 1));
    expect(onGap).toHaveBeenCalledTimes(1);
    expect(got).toEqual([1]);
  });

  it.each(['before', 'after'])('goes on with the old one when the new one is lost %s it is confirmed', async (moment) => {
    const { got, onGap, old, next } = await moving();
    if (moment === 'after') next.ack('SUB').say(event('news', 1));
    next.drop();
    old.say(event('news', 1));
    await pass(500);
    const third = script.socket.hello().ack('SUB');
    third.say(event('news', 3));
    old.say(event('news', 2)).say(event('news', 3));
    third.say(event('news', 4));
    expect(got).toEqual([1, 2, 3, 4]);
    expect(onGap).not.toHaveBeenCalled();
    old.ack('UNSB');
    expect(old.closedWith?.code).toBe(1000);
  });

  it('stays with the old one while the new one refuses for now', async () => {
    const { got, old, next } = await moving();
    next.say({ type: 'NACK', for: '1', error: { code: 503, message: 'later', retry_after: 100 } });
    old.say(event('news', 1));
    await pass(100);
    next.say({ type: 'ACK', for: '2' }).say(event('news', 2));
    old.say(event('news', 2));
    expect(got).toEqual([1, 2]);
  });

  it.each(['before', 'after'])('to one that sends away %s it confirms loses nothing, and tells of a gap', async (moment) => {
    const { got, onGap, old, next } = await moving();
    old.say(event('news', 1));
    if (moment === 'after') next.ack('SUB').say(event('news', 2));
    next.say({ type: 'GOAWAY' });
    await pass();
    if (moment === 'before') next.ack('SUB').say(event('news', 2));
    const third = script.socket.hello();
    next.say(event('news', 3));
    third.ack('SUB').say(event('news', 3));
    next.say(event('news', 4));
    third.say(event('news', 4)).say(event('news', 5));
    await pass(1_000);
    expect(got).toEqual([1, 2, 3, 4, 5]);
    expect(onGap).toHaveBeenCalledTimes(1); // What the old one still had to bring is not waited for.
    old.ack('UNSB');
    next.ack('UNSB');
    expect([old.closedWith?.code, next.closedWith?.code]).toEqual([1000, 1000]);
    expect(third.all('UNSB')).toEqual([]);
  });

  it('leaves the old one at once when the subscription ends', async () => {
    const { sub, old, next } = await moving();
    sub.unsubscribe();
    await pass();
    expect(old.all('UNSB')).toHaveLength(1);
    expect(next.all('UNSB')).toHaveLength(1);
    old.ack('UNSB');
    expect(old.closedWith?.code).toBe(1000);
  });
});

describe('iterating', () => {
  it('gives the events since the subscription, in order', async () => {
    const client = open();
    const sub = client.subscribe('news');
    script.socket.ack('SUB').say(event('news', 1)).say(event('news', 2));
    const got: unknown[] = [];
    for await (const { args } of sub) {
      got.push(args);
      if (args === 2) script.socket.say(event('news', 3));
      if (args === 3) queueMicrotask(() => script.socket.say(event('news', 4)));
      if (args === 4) break;
    }
    expect(got).toEqual([1, 2, 3, 4]);
    await pass();
    expect(script.socket.all('UNSB')).toHaveLength(1);
  });

  it('goes on beside a handler', async () => {
    const client = open();
    const handler = vi.fn();
    const sub = client.subscribe('news', handler);
    script.socket.ack('SUB').say(event('news', 1));
    const next = sub.next();
    script.socket.say(event('news', 2));
    expect(await next).toMatchObject({ value: { args: 2 }, done: false });
    expect(handler).toHaveBeenCalledTimes(2);
  });

  it('ends when the subscription or the client does', async () => {
    const client = open();
    const one = client.subscribe('a');
    const two = client.subscribe('b');
    const next = [one.next(), two.next()];
    one.unsubscribe();
    expect(await next[0]).toEqual({ value: undefined, done: true });
    await client.close();
    expect(await next[1]).toEqual({ value: undefined, done: true });
    expect(await two.next()).toEqual({ value: undefined, done: true });
  });

  it.each([undefined, 4400])('ends beside a handler when the client does, and not for good: %s', async (code) => {
    const client = open();
    const handler = vi.fn();
    const sub = client.subscribe('a', handler);
    const next = sub.next();
    next.catch(() => {});
    const ended = code ? expect.objectContaining({ status: 'rejected' }) : { status: 'fulfilled', value: { value: undefined, done: true } };
    if (code) script.socket.drop(code);
    else void client.close();
    expect(await Promise.allSettled([next])).toEqual([ended]);
    expect(await sub.next()).toEqual({ value: undefined, done: true });
    client.connect();
    await pass(500);
    script.socket.hello().ack('SUB');
    for (let i = 0; i < 2_000; i++) script.socket.say(event('a', i)); // Nobody iterates: nothing is kept.
    expect(handler).toHaveBeenCalledTimes(2_000);
    const later = sub.next();
    script.socket.say(event('a', 'later'));
    expect(await later).toMatchObject({ value: { args: 'later' } });
  });

  it('ends beside a handler when the loop was busy at the end of the client, after what waited', async () => {
    const client = open();
    const sub = client.subscribe('a', () => {});
    script.socket.ack('SUB');
    const first = sub.next();
    script.socket.say(event('a', 1)).say(event('a', 2));
    await first;
    await client.close();
    expect(await sub.next()).toMatchObject({ value: { args: 2 } });
    expect(await sub.next()).toEqual({ value: undefined, done: true });
  });

  it('throws when the client or the subscription is refused', async () => {
    const client = open();
    const one = client.subscribe('a');
    const two = client.subscribe('b');
    const next = [one.next(), two.next()];
    next.forEach((promise) => promise.catch(() => {}));
    script.socket.say({ type: 'NACK', for: '1', error: { code: 403, message: 'no' } });
    await expect(next[0]).rejects.toMatchObject({ code: 403 });
    expect(await one.next()).toEqual({ value: undefined, done: true });
    script.socket.drop(4400, 'who?');
    await expect(next[1]).rejects.toMatchObject({ code: 4400, message: 'who?' });
  });

  it('ends in an error when more events wait than allowed, after those that do', async () => {
    const client = open();
    const onError = vi.fn();
    const sub = client.subscribe('news', { buffer: 2, onError });
    script.socket.ack('SUB');
    for (let i = 1; i <= 4; i++) script.socket.say(event('news', i));
    expect(onError).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: 4500 }));
    const got: unknown[] = [];
    await expect(async () => {
      for await (const { args } of sub) got.push(args);
    }).rejects.toThrow('news: more than 2 events wait for the iterator');
    expect(got).toEqual([1, 2]);
    await pass();
    expect(script.socket.all('UNSB')).toHaveLength(1);
  });
});
