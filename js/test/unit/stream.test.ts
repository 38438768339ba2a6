// Answers in parts: what is sent, what the application sees, and whom a mistake harms.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, CoreClient, JugglerError, stream, type Stream, type StreamOptions } from '../../src/index.js';
import { Script, type Message } from '../support/script.js';

let play: Script;
let client: Client;

beforeEach(() => {
  vi.useFakeTimers();
  play = new Script();
  client = new Client('ws://test/', { ...play.options, backoff: { min: 1, max: 1 } });
  client.connect();
  play.socket.hello();
});
afterEach(async () => {
  await client.close();
  vi.useRealTimers();
});

const elapse = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

/** Begins a stream that the server has taken. */
function begin(options: StreamOptions = {}): Stream {
  const answer = stream(client, 'count', 3, options);
  play.socket.ack('CALL');
  return answer;
}

const call = (): Message => play.socket.last('CALL');

/** The server sends parts with these numbers. */
function parts(...numbers: number[]): void {
  for (const n of numbers) play.socket.say({ type: 'PART', for: call()['id'], n, args: `part ${n}` });
}

const end = (more: Message = { args: 'all' }): unknown => play.socket.say({ type: 'RES', for: call()['id'], ...more });

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

const reason = (promise: Promise<unknown>): Promise<any> =>
  promise.then(
    (value) => Promise.reject(new Error(`resolved to ${JSON.stringify(value)}`)),
    (error: unknown) => error,
  );

/** Takes all parts, and returns them with what the loop threw. */
async function collect(answer: Stream): Promise<[parts: unknown[], error?: any]> {
  const got: unknown[] = [];
  try {
    for await (const part of answer) got.push(part);
  } catch (error) {
    return [got, error];
  }
  return [got];
}

const asked = (): number[] => play.socket.all('MORE').map((more) => more['parts'] as number);

describe('an answer in parts', () => {
  it('is asked for by a number of parts, and comes with its result', async () => {
    const answer = begin({ headers: { tenant: 'acme' }, timeout: 5_000 });
    expect(call()).toMatchObject({ uri: 'count', args: 3, parts: 128, headers: { tenant: 'acme' }, timeout: 5_000 });
    const all = collect(answer);
    parts(1);
    await elapse();
    parts(2, 3);
    end();
    expect(await all).toEqual([['part 1', 'part 2', 'part 3']]);
    expect(await answer.result).toBe('all');
    expect(await answer.next()).toEqual({ value: undefined, done: true });
    expect(play.socket.all('CANCEL')).toEqual([]);
  });

  it('keeps what came before somebody takes it, also past the end', async () => {
    const answer = begin();
    parts(1, 2);
    end();
    await elapse(10);
    expect(await collect(answer)).toEqual([['part 1', 'part 2']]);
  });

  it('without parts is that of a callee that knows none', async () => {
    const answer = begin();
    end();
    expect(await collect(answer)).toEqual([[]]);
    expect(await answer.result).toBe('all');
  });

  it('works with the core, and behind a Proxy', async () => {
    const core = new CoreClient('ws://test/', play.options);
    core.connect();
    play.socket.hello();
    const answer = new Proxy(stream(new Proxy(core, {}), 'count', 3), {});
    const all = collect(answer);
    parts(1);
    end();
    expect(await all).toEqual([['part 1']]);
    const { next } = answer;
    expect(await next()).toMatchObject({ done: true });
    expect(await answer.result).toBe('all');
    await core.close();
  });

  it('is told apart from others under way', async () => {
    const [a, b] = [begin(), begin()];
    const [first, second] = play.socket.all('CALL').map(({ id }) => id);
    play.socket.say({ type: 'PART', for: second, n: 1, args: 'b' }).say({ type: 'PART', for: first, n: 1, args: 'a' });
    expect([await a.next(), await b.next()]).toMatchObject([{ value: 'a' }, { value: 'b' }]);
  });

  it('waits for room among the calls that the server allows, and ends with the client', async () => {
    client.connect();
    play.socket.drop();
    await elapse(10);
    play.socket.hello({ limits: { calls: 1 } });
    const [first, second] = [collect(begin()), collect(stream(client, 'second'))];
    expect(play.socket.all('CALL')).toHaveLength(1);
    end();
    await first;
    expect(call()['uri']).toBe('second');
    await client.close();
    expect((await second)[1]).toMatchObject({ code: 1000 });
  });
});

describe('more is asked for', () => {
  it.each([
    [128, 64],
    [5, 3],
    [1, 1],
  ])('of %i once %i are taken, and not before', async (window, half) => {
    const answer = begin({ parts: window });
    parts(...range(1, window));
    for (let taken = 1; taken < half; taken++) await answer.next();
    expect(asked()).toEqual([]);
    await answer.next();
    expect(asked()).toEqual([half]);
    expect(play.socket.last('MORE')).toEqual({ type: 'MORE', for: call()['id'], parts: half });
    parts(...range(window + 1, window + half));
    for (let taken = 1; taken < half; taken++) await answer.next();
    expect(asked()).toEqual([half]);
    await answer.next();
    expect(asked()).toEqual([half, half]);
  });

  it('where a loop waits for each', async () => {
    const all = collect(begin({ parts: 2 }));
    for (const n of range(1, 100)) {
      parts(n);
      await elapse();
    }
    end();
    expect((await all)[0]).toHaveLength(100);
    expect(asked()).toEqual(range(1, 100).map(() => 1));
  });

  it('no faster than the rates allow', async () => {
    client.connect();
    play.socket.drop();
    await elapse(10);
    play.socket.hello({ limits: { rates: { messages: { per_second: 10, burst: 4 } } } });
    const started = Date.now();
    const all = collect(begin({ parts: 1 }));
    for (let n = 1; n <= 20; n++) {
      parts(n);
      // A server sends the next when it was asked for it.
      while (asked().length < n) await elapse(10);
    }
    end();
    expect((await all)[0]).toHaveLength(20);
    // 20 messages and the call, of which a burst may leave at once.
    expect(Date.now() - started).toBeGreaterThan(1_500);
  });

  it('not once the call is over', async () => {
    const answer = begin({ parts: 2 });
    parts(1, 2);
    end();
    await elapse();
    expect(await collect(answer)).toEqual([['part 1', 'part 2']]);
    expect(asked()).toEqual([]);
  });
});

describe('who asks for the result alone', () => {
  it('drops the parts, and asks for more of them', async () => {
    const answer = begin({ parts: 4 });
    parts(1, 2, 3);
    const { result } = answer;
    await elapse();
    expect(asked()).toEqual([2]);
    parts(4, 5, 6, 7);
    end();
    expect(await result).toBe('all');
    expect(asked()).toEqual([2, 2, 2]);
  });

  it('and begins a loop at once has both', async () => {
    const answer = begin();
    const [result, all] = await Promise.all([answer.result, collect(answer), elapse().then(() => (parts(1), end()))]);
    expect([result, all]).toEqual(['all', [['part 1']]]);
  });

  it('and begins a loop later harms that loop alone', async () => {
    const answer = begin();
    const { result } = answer;
    await elapse();
    const [got, error] = await collect(answer);
    expect([got, error.code]).toEqual([[], 400]);
    parts(1);
    end();
    expect(await result).toBe('all');
  });

  it('after a loop has begun changes nothing', async () => {
    const answer = begin();
    parts(1, 2);
    expect(await answer.next()).toMatchObject({ value: 'part 1' });
    void answer.result;
    await elapse();
    expect(await answer.next()).toMatchObject({ value: 'part 2' });
  });

  it('or for nothing meets no unhandled rejection', async () => {
    const unhandled = vi.fn();
    process.on('unhandledRejection', unhandled);
    for (const use of [() => {}, (answer: Stream) => void answer.result, (answer: Stream) => void answer.return!()]) {
      use(begin());
      await elapse();
      end({ error: { code: 422, message: 'no' } });
      await elapse();
    }
    vi.useRealTimers();
    await new Promise((resolve) => setTimeout(resolve));
    process.off('unhandledRejection', unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });
});

describe('who leaves', () => {
  it.each(['break', 'throw'])('a loop by %s cancels the call', async (how) => {
    const answer = begin();
    parts(1, 2);
    const leave = async (): Promise<void> => {
      for await (const part of answer) {
        expect(part).toBe('part 1');
        if (how === 'throw') throw new Error('mine');
        break;
      }
    };
    if (how === 'throw') await expect(leave()).rejects.toThrow('mine');
    else await leave();
    expect(play.socket.all('CANCEL')).toEqual([{ type: 'CANCEL', for: call()['id'] }]);
    expect(await reason(answer.result)).toMatchObject({ code: 499, outcome: 'unknown' });
    parts(3);
    end();
    expect(await answer.next()).toMatchObject({ done: true });
    expect(play.logged).toEqual([]);
  });

  it('by return() while a part is waited for ends that wait', async () => {
    const answer = begin();
    const waiting = answer.next();
    await answer.return!();
    expect(await waiting).toMatchObject({ done: true });
    expect(play.socket.all('CANCEL')).toHaveLength(1);
  });

  it('after the end of the answer keeps its result, and cancels nothing', async () => {
    const answer = begin();
    parts(1, 2);
    end();
    for await (const _ of answer) break;
    expect(await answer.result).toBe('all');
    expect(play.socket.all('CANCEL')).toEqual([]);
  });

  it('before it was sent never sends it', async () => {
    play.socket.drop();
    const answer = stream(client, 'count');
    await answer.return!();
    await elapse(10);
    play.socket.hello();
    expect(play.socket.all('CALL')).toEqual([]);
    expect(await reason(answer.result)).toMatchObject({ code: 499, outcome: 'refused' });
  });

  it('by a signal cancels, and is given no part that waits', async () => {
    const controller = new AbortController();
    const answer = begin({ signal: controller.signal });
    parts(1, 2, 3);
    await answer.next();
    controller.abort(new Error('mine'));
    expect(play.socket.all('CANCEL')).toHaveLength(1);
    expect((await collect(answer))[1]).toMatchObject({ message: 'mine' });
    expect(await answer.next()).toMatchObject({ done: true });
    expect(await reason(answer.result)).toMatchObject({ message: 'mine' });
  });

  it('by a signal ends the wait for a part', async () => {
    const controller = new AbortController();
    const all = collect(begin({ signal: controller.signal }));
    await elapse();
    controller.abort(new Error('mine'));
    expect((await all)[1]).toMatchObject({ message: 'mine' });
  });

  it('by a signal after the end of the answer is given no part that waits', async () => {
    const controller = new AbortController();
    const answer = begin({ signal: controller.signal });
    parts(1);
    end();
    await elapse();
    controller.abort(new Error('mine'));
    expect((await collect(answer))[1]).toMatchObject({ message: 'mine' });
    expect(await answer.result).toBe('all');
  });
});

describe('an answer that fails', () => {
  it('gives the parts that came, then the error of the callee', async () => {
    const answer = begin();
    parts(1, 2);
    end({ error: { code: 422, message: 'no', data: 7 } });
    const [got, error] = await collect(answer);
    expect(got).toEqual(['part 1', 'part 2']);
    expect(error).toMatchObject({ code: 422, message: 'no', data: 7, outcome: 'failed' });
    expect(await reason(answer.result)).toBe(error);
    expect(await answer.next()).toMatchObject({ done: true });
  });

  it('is cancelled when its time is over', async () => {
    const all = collect(begin({ timeout: 1_000 }));
    parts(1);
    await elapse(1_000);
    expect(await all).toMatchObject([['part 1'], { code: 408, outcome: 'unknown' }]);
    expect(play.socket.all('CANCEL')).toHaveLength(1);
  });

  it.each([{ idempotent: false }, { idempotent: true }])('as the connection is lost after a part is not sent again: %o', async (options) => {
    const all = collect(begin(options));
    parts(1, 2);
    play.socket.drop();
    await elapse(100);
    play.socket.hello();
    expect(play.socket.all('CALL')).toEqual([]);
    const [got, error] = await all;
    expect(got).toEqual(['part 1', 'part 2']);
    expect(error).toMatchObject({ code: 1006, outcome: 'unknown', retryable: options.idempotent });
    expect(error.message).toContain('parts that came: 2');
  });

  it('as the connection is lost before a part is sent again if it is idempotent', async () => {
    const all = collect(begin({ idempotent: true }));
    const other = collect(begin());
    play.socket.drop();
    expect((await other)[1]).toMatchObject({ code: 1006, outcome: 'unknown', message: expect.not.stringContaining('parts') });
    await elapse(100);
    play.socket.hello().ack('CALL');
    expect(call()['parts']).toBe(128);
    parts(1);
    end();
    expect(await all).toEqual([['part 1']]);
  });

  it('as the server puts it off is sent again, until a part has come', async () => {
    const busy = (): unknown => play.socket.say({ type: 'NACK', for: call()['id'], error: { code: 503, message: 'full', retry_after: 50 } });
    const all = collect(stream(client, 'count'));
    busy();
    await elapse(50);
    expect(play.socket.all('CALL')).toHaveLength(2);
    parts(1);
    busy(); // which no server says here
    await elapse(50);
    expect(play.socket.all('CALL')).toHaveLength(2);
    expect(await all).toMatchObject([['part 1'], { code: 503, outcome: 'unknown' }]);
  });

  it.each<[what: string, numbers: number[]]>([
    ['a hole', [1, 3]],
    ['a part twice', [1, 1]],
    ['more than asked for', [1, 2, 3]],
    ['a number that is none', [1, '2' as never]],
  ])('as the server sends %s harms no other', async (_, numbers) => {
    const other = client.call('other');
    const otherId = call()['id'];
    play.socket.ack('CALL');
    const answer = begin({ parts: 2 });
    parts(...numbers);
    const [got, error] = await collect(answer);
    expect(got).toEqual(numbers.length === 3 ? ['part 1', 'part 2'] : ['part 1']);
    expect(error).toMatchObject({ code: 1002, outcome: 'unknown' });
    expect(play.socket.all('CANCEL')).toEqual([{ type: 'CANCEL', for: call()['id'] }]);
    play.socket.say({ type: 'RES', for: otherId, args: 'fine' });
    expect(await other).toBe('fine');
    expect(client.state.status).toBe('open');
  });

  it('may be followed by a part, or a part belong to no stream, without harm', async () => {
    const answer = begin();
    end();
    parts(1);
    expect(await collect(answer)).toEqual([[]]);
    const plain = client.call('plain');
    parts(1);
    end();
    expect(await plain).toBe('all');
    expect(client.state.status).toBe('open');
  });
});

describe('a mistake', () => {
  it.each([0, -1, 1.5, 1e6 + 1, NaN, '8', null])('in parts, %s, is refused before it is sent', async (parts) => {
    const answer = stream(client, 'count', 3, { parts } as never);
    expect((await collect(answer))[1]).toMatchObject({ code: 400, outcome: 'refused', message: expect.stringContaining('options.parts') });
    expect(await reason(answer.result)).toSatisfy(JugglerError.is);
    await answer.return!();
    expect(play.socket.all('CALL')).toEqual([]);
  });

  it('in anything else is refused as that of a call', async () => {
    expect((await collect(stream(client, '', 3)))[1]).toMatchObject({ code: 400 });
    expect((await collect(stream(client, 'count', 3, { timeout: -1 })))[1]).toMatchObject({ code: 400 });
    expect((await collect(stream(client, 'count', 1n)))[1]).toMatchObject({ code: 400 });
  });

  it('of a second loop does not harm the first', async () => {
    const answer = begin();
    const all = collect(answer);
    expect((await collect(answer))[1]).toMatchObject({ code: 400 });
    parts(1);
    end();
    expect(await all).toEqual([['part 1']]);
    expect((await collect(answer))[1]).toMatchObject({ code: 400 });
  });
});
