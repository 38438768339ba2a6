// Calls with a key: what is sent, on which connection, and what the application sees.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, CoreClient, JugglerError, stream, withKey, type Attached, type KeyedOptions, type Stream } from '../../src/index.js';
import { Script, type Message, type ScriptedSocket } from '../support/script.js';

let play: Script;
let client: Client;

beforeEach(() => {
  vi.useFakeTimers();
  play = new Script();
  client = new Client('ws://test/', { ...play.options, backoff: { min: 1, max: 1 } });
  client.connect();
  play.socket.hello({ keyed: true });
});
afterEach(async () => {
  await client.close();
  vi.useRealTimers();
});

const elapse = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

const call = (socket = play.socket): Message => socket.last('CALL');

/** The server takes the newest call. */
const attach = (state = 'new', more: Message = {}): ScriptedSocket => play.socket.say({ type: 'ACK', for: call()['id'], state, ...more });

const end = (more: Message = { args: 'done' }, socket = play.socket): unknown => socket.say({ type: 'RES', for: call(socket)['id'], ...more });

const refuse = (code: number, more: Message = {}): unknown => play.socket.say({ type: 'NACK', for: call()['id'], error: { code, message: 'no', ...more } });

/** The server sends parts with these numbers. */
function parts(...numbers: number[]): void {
  for (const n of numbers) play.socket.say({ type: 'PART', for: call()['id'], n, args: n });
}

/** The connection is lost, and another one opened. */
async function reconnect(hello: Message = { keyed: true }): Promise<void> {
  play.socket.drop();
  await elapse(1);
  play.socket.hello(hello);
}

/** The server asks to move, and the client does. Returns the connection that it leaves. */
async function move(hello: Message = { keyed: true }): Promise<ScriptedSocket> {
  const old = play.socket.say({ type: 'GOAWAY', after: 10 });
  await elapse(10);
  expect(play.socket).not.toBe(old);
  play.socket.hello(hello);
  return old;
}

const reason = (promise: Promise<unknown>): Promise<any> =>
  promise.then(
    (value) => Promise.reject(new Error(`resolved to ${JSON.stringify(value)}`)),
    (error: unknown) => error,
  );

async function collect(answer: Stream): Promise<[parts: unknown[], error?: any]> {
  const got: unknown[] = [];
  try {
    for await (const part of answer) got.push(part);
  } catch (error) {
    return [got, error];
  }
  return [got];
}

const pay = (options: KeyedOptions = {}): Promise<unknown> => client.call('order.pay', { cents: 5 }, withKey('order-17', options));

const ask = (options: KeyedOptions = {}): Stream => stream(client, 'ai.answer', 'Why?', withKey('k7', options));

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe('a call with a key', () => {
  it('sends the key, and says how far the call is', async () => {
    const seen: Attached[] = [];
    const paid = pay({ timeout: 5_000, headers: { tenant: 'acme' }, onAttach: (attached) => seen.push(attached) });
    expect(call()).toEqual({ type: 'CALL', id: '1', uri: 'order.pay', args: { cents: 5 }, key: 'order-17', timeout: 5_000, headers: { tenant: 'acme' } });
    attach('running');
    expect(seen).toEqual([{ state: 'running' }]);
    end();
    expect(await paid).toBe('done');
  });

  it('is joined on the next connection, once it was acknowledged', async () => {
    const seen: string[] = [];
    const paid = pay({ onAttach: ({ state }) => seen.push(state) });
    attach();
    await reconnect();
    expect(call()).toMatchObject({ key: 'order-17', since: 0 });
    attach('done');
    end();
    expect(await paid).toBe('done');
    expect(seen).toEqual(['new', 'done']);
  });

  it('is sent once more as it was, if nobody knows whether it came', async () => {
    const paid = pay();
    await reconnect();
    expect(call()).toMatchObject({ uri: 'order.pay', args: { cents: 5 }, key: 'order-17' });
    expect(call()).not.toHaveProperty('since');
    attach('running');
    await reconnect();
    expect(call()).toMatchObject({ since: 0 });
    end();
    expect(await paid).toBe('done');
  });

  it('goes on however often the connection is lost, and whoever broke a rule on it', async () => {
    const paid = pay();
    for (let n = 0; n < 5; n++) {
      attach('running');
      play.socket.drop(1009, 'too long');
      await elapse(1_000);
      play.socket.hello({ keyed: true });
    }
    end();
    expect(await paid).toBe('done');
    expect(play.sockets).toHaveLength(6);
  });

  it('that may be what the server did not like is not sent a third time', async () => {
    const paid = reason(pay());
    for (let n = 0; n < 2; n++) {
      play.socket.drop(1009, 'too long');
      await elapse(1_000);
      play.socket.hello({ keyed: true });
    }
    expect(await paid).toMatchObject({ code: 1009, outcome: 'unknown' });
    expect(play.socket.all('CALL')).toEqual([]);
  });

  it('has its time over all connections', async () => {
    const paid = reason(pay({ timeout: 1_000 }));
    attach();
    await elapse(400);
    await reconnect();
    expect(call()['timeout']).toBeLessThanOrEqual(600);
    await elapse(600);
    expect(await paid).toMatchObject({ code: 408, outcome: 'unknown', retryable: true });
    expect(play.socket.all('CANCEL')).toEqual([{ type: 'CANCEL', for: call()['id'] }]);
  });

  it('is left by an aborted signal', async () => {
    const controller = new AbortController();
    const paid = reason(pay({ signal: controller.signal }));
    attach();
    controller.abort(new Error('mine'));
    expect(await paid).toMatchObject({ message: 'mine' });
    expect(play.socket.all('CANCEL')).toEqual([{ type: 'CANCEL', for: call()['id'] }]);
    end({ error: { code: 499, message: 'cancelled' } });
    await reconnect();
    expect(play.socket.all('CALL')).toEqual([]);
    expect(play.logged.filter(([level]) => level !== 'info')).toEqual([]);
  });

  it('works with the core', async () => {
    const core = new CoreClient('ws://test/', play.options);
    core.connect();
    play.socket.hello({ keyed: true });
    const paid = core.call('order.pay', 1, withKey('k'));
    attach();
    end();
    expect(await paid).toBe('done');
    await core.close();
  });

  it('is refused with what the server says', async () => {
    for (const code of [403, 409, 410, 429, 503]) {
      const paid = reason(pay());
      refuse(code);
      expect(await paid).toMatchObject({ code, outcome: 'refused', retryable: code > 410 });
    }
    const paid = reason(pay());
    attach();
    await reconnect();
    refuse(410);
    expect(await paid).toMatchObject({ code: 410, outcome: 'unknown', retryable: false });
  });

  it('waits as long as the server says, and within its time', async () => {
    const paid = pay();
    refuse(503, { retry_after: 50 });
    await elapse(50);
    expect(play.socket.all('CALL')).toHaveLength(2);
    end();
    expect(await paid).toBe('done');
  });

  it.each([
    [408, true],
    [404, true],
    [500, false],
    [502, false],
    [499, false],
  ])('that ended with %i may be repeated with the same key: %s', async (code, retryable) => {
    const paid = reason(pay());
    attach();
    end({ error: { code, message: 'so', data: 7 } });
    expect(await paid).toMatchObject({ code, message: 'so', data: 7, retryable });
  });

  it('tells what its listener throws, and goes on', async () => {
    const errors: JugglerError[] = [];
    client.on('error', (error) => errors.push(error));
    const paid = pay({
      onAttach() {
        throw new Error('mine');
      },
    });
    attach();
    end();
    expect(await paid).toBe('done');
    expect(errors).toMatchObject([{ message: expect.stringContaining('onAttach') }]);
  });

  it('leaves nothing behind', async () => {
    const listeners = new Set();
    const add = vi.spyOn(Set.prototype, 'add');
    const paid = pay();
    listeners.add(add.mock.contexts[0]);
    add.mockRestore();
    end();
    await paid;
    expect([...listeners].map((set) => (set as Set<unknown>).size)).toEqual([0]);
  });
});

describe('a session without keys', () => {
  it('is told so at once, and nothing is sent', async () => {
    await reconnect({});
    const error = await reason(pay());
    expect(error).toMatchObject({ code: 400, outcome: 'refused', message: expect.stringContaining('key') });
    expect((await collect(ask()))[1]).toMatchObject({ code: 400, outcome: 'refused' });
    expect(play.socket.all('CALL')).toEqual([]);
  });

  it('that comes next leaves the outcome unknown', async () => {
    const paid = reason(pay());
    attach();
    await reconnect({});
    expect(await paid).toMatchObject({ code: 400, outcome: 'unknown' });
    expect(play.socket.all('CALL')).toEqual([]);
  });

  it('has them once it has signed in, and not after who may not', async () => {
    await client.close();
    let token = 'guest';
    client = new Client('ws://test/', { ...play.options, auth: () => token, backoff: { min: 1, max: 1 } });
    client.connect();
    const paid = pay();
    await elapse();
    play.socket.hello();
    await elapse();
    play.socket.say({ type: 'ACK', for: play.socket.last('AUTH')['id'], keyed: true, expires: 40_000 });
    end();
    expect(await paid).toBe('done');
    token = 'other';
    await elapse(30_000);
    play.socket.say({ type: 'ACK', for: play.socket.last('AUTH')['id'] });
    expect(await reason(pay())).toMatchObject({ code: 400 });
  });
});

describe('where the server asks to move, a call with a key', () => {
  it('goes on at once on the new connection, and leaves the old one', async () => {
    const paid = pay();
    attach();
    const old = await move();
    expect(call()).toMatchObject({ key: 'order-17', since: 0 });
    expect(old.all('CANCEL')).toEqual([{ type: 'CANCEL', for: call(old)['id'] }]);
    // What the old connection still brings is not the outcome.
    end({ error: { code: 499, message: 'cancelled' } }, old);
    expect(old.closedWith).toMatchObject({ code: 1000 });
    attach('running');
    end();
    expect(await paid).toBe('done');
    expect(play.logged.filter(([level]) => level !== 'info')).toEqual([]);
  });

  it('stays where it is if the new connection knows no keys', async () => {
    const paid = pay();
    attach();
    const old = await move({});
    expect(play.socket.all('CALL')).toEqual([]);
    end({ args: 'done' }, old);
    expect(await paid).toBe('done');
  });

  it('waits for room there', async () => {
    const paid = pay();
    attach();
    const other = client.call('other');
    const old = await move({ keyed: true, limits: { calls: 1 } });
    const next = client.call('next');
    expect(play.socket.all('CALL').map(({ uri }) => uri)).toEqual(['order.pay']);
    end({ args: 'other' }, old);
    end();
    end();
    expect([await paid, await other]).toEqual(['done', 'other']);
    expect(call()['uri']).toBe('next');
    end();
    await next;
  });

  it('is a stream that goes on behind its last part', async () => {
    const answer = ask();
    attach();
    parts(1, 2);
    const all = collect(answer);
    await elapse();
    const old = await move();
    expect(call()).toMatchObject({ key: 'k7', since: 2, parts: 128 });
    // Those of before are there already.
    old.say({ type: 'PART', for: call(old)['id'], n: 3, args: 3 });
    attach('running');
    parts(3, 4);
    end();
    expect(await all).toEqual([[1, 2, 3, 4]]);
  });
});

describe('a stream with a key', () => {
  it('goes on behind its last part after a lost connection, as often as that happens', async () => {
    const all = collect(ask());
    attach();
    for (const n of range(1, 20)) {
      parts(n);
      await elapse();
      await reconnect();
      expect(call()).toMatchObject({ uri: 'ai.answer', key: 'k7', since: n });
      attach('running');
    }
    end();
    expect(await all).toEqual([range(1, 20)]);
  });

  it('begins anew if nobody knows whether it came', async () => {
    const all = collect(ask());
    await reconnect();
    expect(call()).not.toHaveProperty('since');
    attach();
    parts(1);
    end();
    expect(await all).toEqual([[1]]);
  });

  it('asks for no more than there is room for', async () => {
    const answer = ask({ parts: 4 });
    attach();
    parts(1, 2, 3);
    await reconnect();
    expect(call()).toMatchObject({ since: 3, parts: 1 });
    attach('running');
    parts(4);
    await reconnect();
    expect(call()).toMatchObject({ since: 4, parts: 1 });
    attach('running');
    expect([await answer.next(), await answer.next()]).toMatchObject([{ value: 1 }, { value: 2 }]);
    expect(play.socket.last('MORE')).toEqual({ type: 'MORE', for: call()['id'], parts: 2 });
    parts(5, 6, 7);
    end();
    expect(await collect(answer)).toEqual([[3, 4, 5, 6, 7]]);
  });

  it('asks for more on the connection that it is on, and for what is used there', async () => {
    const limits = { rates: { messages: { per_second: 10, burst: 4 } } };
    await reconnect({ keyed: true, limits });
    const answer = ask({ parts: 2 });
    attach();
    for (const n of range(1, 3)) {
      parts(n);
      await answer.next();
    }
    expect(play.socket.all('MORE')).toHaveLength(2); // The third waits.
    await reconnect();
    expect(call()).toMatchObject({ since: 3, parts: 2 });
    await elapse(10_000);
    expect(play.socket.all('MORE')).toEqual([]);
  });

  it('is joined behind a part, after a page was loaded anew', async () => {
    const seen: Attached[] = [];
    const answer = ask({ since: 12, onAttach: (attached) => seen.push(attached) });
    expect(call()).toMatchObject({ key: 'k7', since: 12 });
    attach('running');
    parts(13, 14);
    await reconnect();
    expect(call()).toMatchObject({ since: 14 });
    attach('done');
    end();
    expect(await collect(answer)).toEqual([[13, 14]]);
    expect(seen).toEqual([{ state: 'running' }, { state: 'done' }]);
  });

  it('is told from which part on it comes, where older ones are gone', async () => {
    const seen: Attached[] = [];
    const answer = ask({ parts: 2, since: 12, onAttach: (attached) => seen.push(attached) });
    attach('running', { from: 15 });
    expect(seen).toEqual([{ state: 'running', from: 15 }]);
    parts(15, 16);
    await reconnect();
    expect(call()).toMatchObject({ since: 16 });
    attach('running');
    end();
    expect(await collect(answer)).toEqual([[15, 16]]);
  });

  it('ends where parts are gone that it lacks, as in a stream there is no hole', async () => {
    const all = collect(ask());
    attach();
    parts(1, 2);
    await reconnect();
    attach('running', { from: 5 });
    expect(await all).toMatchObject([[1, 2], { code: 429, outcome: 'unknown', message: expect.stringContaining('3 to 4') }]);
    expect(play.socket.all('CANCEL')).toEqual([{ type: 'CANCEL', for: call()['id'] }]);
  });

  it.each([2, 0, -1, 7.5, '9', null])('ends as the server goes on with part %s', async (from) => {
    const all = collect(ask({ since: 2 }));
    attach('running', { from });
    expect((await all)[1]).toMatchObject({ code: 1002 });
    expect(client.state.status).toBe('open');
  });

  it.each([1, 4])('ends at part %i behind part 2 on another connection', async (n) => {
    const all = collect(ask());
    attach();
    parts(1, 2);
    await reconnect();
    attach('running');
    parts(n);
    expect(await all).toMatchObject([[1, 2], { code: 1002 }]);
  });

  it('that is left is not joined again', async () => {
    const answer = ask();
    attach();
    parts(1);
    for await (const _ of answer) break;
    expect(play.socket.all('CANCEL')).toEqual([{ type: 'CANCEL', for: call()['id'] }]);
    await reconnect();
    expect(play.socket.all('CALL')).toEqual([]);
  });
});

describe('to stop a call with a key', () => {
  it('ends it for all', async () => {
    const controller = new AbortController();
    const paid = reason(pay({ stop: controller.signal }));
    attach();
    expect(play.socket.all('CANCEL')).toEqual([]);
    controller.abort();
    expect(play.socket.all('CANCEL')).toEqual([{ type: 'CANCEL', for: call()['id'], stop: true }]);
    end({ error: { code: 499, message: 'stopped' } });
    expect(await paid).toMatchObject({ code: 499, message: 'stopped', outcome: 'failed' });
  });

  it('waits until the server knows it', async () => {
    const controller = new AbortController();
    const paid = reason(pay({ stop: controller.signal }));
    controller.abort();
    expect(play.socket.all('CANCEL')).toEqual([]);
    attach();
    expect(play.socket.all('CANCEL')).toEqual([{ type: 'CANCEL', for: call()['id'], stop: true }]);
    await reconnect();
    attach('running');
    expect(play.socket.all('CANCEL')).toEqual([{ type: 'CANCEL', for: call()['id'], stop: true }]);
    end({ error: { code: 499, message: 'stopped' } });
    await paid;
  });

  it('needs nothing where it was never sent', async () => {
    play.socket.drop();
    const controller = new AbortController();
    const all = collect(ask({ stop: controller.signal }));
    controller.abort();
    expect((await all)[1]).toMatchObject({ code: 499, outcome: 'refused' });
    expect(await reason(pay({ stop: AbortSignal.abort() }))).toMatchObject({ code: 499, outcome: 'refused' });
    await elapse(1);
    play.socket.hello({ keyed: true });
    expect(play.socket.all('CALL')).toEqual([]);
  });

  it('joins it where that is all that is wanted', async () => {
    const paid = reason(pay({ since: 0, stop: AbortSignal.abort() }));
    expect(call()).toMatchObject({ since: 0 });
    attach('running');
    expect(play.socket.last('CANCEL')).toMatchObject({ stop: true });
    end({ error: { code: 499, message: 'stopped' } });
    expect(await paid).toMatchObject({ code: 499 });
  });
});

describe('a mistake', () => {
  it.each<[what: string, key: unknown, options: object]>([
    ['an empty key', '', {}],
    ['no key', undefined, {}],
    ['a number as key', 7, {}],
    ['a key of 65 bytes', 'x'.repeat(65), {}],
    ['a key of 66 bytes in 33 characters', 'ü'.repeat(33), {}],
    ['half a character', 'x\ud800', {}],
    ['a negative since', 'k', { since: -1 }],
    ['half a since', 'k', { since: 1.5 }],
    ['a since that is too large', 'k', { since: 2 ** 31 }],
    ['a text as since', 'k', { since: '1' }],
    ['null as since', 'k', { since: null }],
    ['a stop that is no signal', 'k', { stop: true }],
    ['a listener that is none', 'k', { onAttach: 'x' }],
  ])('such as %s is refused before it is sent', async (_, key, options) => {
    const wrong = withKey(key as never, options as never);
    expect(await reason(client.call('order.pay', 1, wrong))).toMatchObject({ name: 'JugglerError', code: 400, outcome: 'refused' });
    expect((await collect(stream(client, 'ai.answer', 1, wrong)))[1]).toMatchObject({ code: 400, outcome: 'refused' });
    expect(play.socket.all('CALL')).toEqual([]);
    expect(vi.getTimerCount()).toBe(1); // the connection's own
  });

  it('in how many parts are taken is refused, too', async () => {
    expect((await collect(ask({ parts: 0 })))[1]).toMatchObject({ code: 400 });
  });

  it.each(['x'.repeat(64), 'ü'.repeat(32), '%'.repeat(64), '"\\\n'])('is not a key such as %s', async (key) => {
    const paid = client.call('order.pay', 1, withKey(key));
    expect(call()['key']).toBe(key);
    end();
    await paid;
  });

  it('such as a publication with it is refused', async () => {
    expect(await reason(client.publish('c', 1, withKey('k')))).toMatchObject({ code: 400 });
    expect(play.socket.all('PUB')).toEqual([]);
  });

  it('such as a key without withKey is refused, as it would do nothing', async () => {
    const options = { key: 'k' } as object;
    expect(await reason(client.call('order.pay', 1, options))).toMatchObject({ code: 400, message: expect.stringContaining('withKey') });
    expect((await collect(stream(client, 'ai.answer', 1, options)))[1]).toMatchObject({ code: 400 });
    expect(play.socket.all('CALL')).toEqual([]);
  });
});
