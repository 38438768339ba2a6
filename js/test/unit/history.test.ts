// Channels whose events the server keeps: what was missed comes, or the client says that something is missing.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, type SubscribeOptions } from '../../src/index.js';
import { MockServer, type MockServerOptions } from '../../src/testing.js';
import { Script, type Message } from '../support/script.js';

const elapse = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe('with a server that keeps events', () => {
  let server: MockServer;
  let client: Client;
  let got: unknown[];

  function start(options: MockServerOptions = {}): void {
    server = new MockServer({ history: { 'kept.*': 100 }, ...options });
    client = new Client('ws://mock', { WebSocket: server.WebSocket, logger: () => {} });
    got = [];
  }

  const subscribe = async (channel = 'kept.a', options: SubscribeOptions & { pattern?: false } = {}): Promise<void> => {
    client.subscribe(channel, { onGap: ({ reason }) => got.push(reason), ...options }, ({ args }) => got.push(args));
    await elapse();
  };

  /** The network fails, this happens, and it is back. */
  const offline = async (meanwhile: () => void): Promise<void> => {
    server.reachable = false;
    server.disconnect();
    await elapse(1);
    meanwhile();
    server.reachable = true;
    await elapse(120_000);
  };

  beforeEach(() => start());
  afterEach(() => client.close());

  it('events that were missed come, in order and without a gap', async () => {
    await subscribe();
    server.publish('kept.a', 1);
    await offline(() => [2, 3].forEach((n) => server.publish('kept.a', n)));
    server.publish('kept.a', 4);
    await elapse();
    expect(got).toEqual([1, 2, 3, 4]);
  });

  it('they come also where none had come before', async () => {
    await subscribe();
    await offline(() => server.publish('kept.a', 1));
    expect(got).toEqual([1]);
  });

  it('a channel that is not kept, and a pattern, have a gap', async () => {
    await subscribe('other');
    client.subscribe('kept.*', { pattern: true, onGap: ({ channel }) => got.push(channel) }, () => {});
    await elapse();
    await offline(() => server.publish('other', 1));
    expect(got.sort()).toEqual(['kept.*', 'reconnect']);
  });

  it('there is a gap where the server has forgotten some, and none the next time', async () => {
    await subscribe();
    server.publish('kept.a', 1);
    await offline(() => {
      server.publish('kept.a', 2);
      server.forget('kept.a');
    });
    server.publish('kept.a', 3);
    await offline(() => server.publish('kept.a', 4));
    expect(got).toEqual([1, 'reconnect', 3, 4]);
  });

  it('there is a gap where the server has lost what the client has seen, though the numbers are there again', async () => {
    await subscribe();
    [1, 2, 3].forEach((n) => server.publish('kept.a', n));
    await offline(() => {
      server.rollback('kept.a', 2);
      [4, 5].forEach((n) => server.publish('kept.a', n));
    });
    await offline(() => server.publish('kept.a', 6));
    expect(got).toEqual([1, 2, 3, 'reconnect', 6]);
  });

  it('after a gap that the server tells of, it goes on from there', async () => {
    await subscribe();
    [1, 2].forEach((n) => server.publish('kept.a', n));
    server.rollback('kept.a');
    await offline(() => server.publish('kept.a', 3));
    expect(got).toEqual([1, 2, 'server', 3]);
  });

  it('where the server asks to move, neither a slow nor a silent channel loses or repeats an event', async () => {
    await subscribe();
    await subscribe('kept.silent');
    server.delay = 1_000;
    for (let n = 0; n < 10; n++) {
      if (n === 3) server.goAway();
      server.publish('kept.a', n);
      await elapse(300);
    }
    await elapse(10_000);
    expect(server.subscriptions.sort()).toEqual(['kept.a', 'kept.silent']);
    expect(got).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('last: the newest come first, once', async () => {
    [1, 2, 3].forEach((n) => server.publish('kept.a', n));
    await subscribe('kept.a', { last: 2 });
    expect(got).toEqual([2, 3]);
    server.publish('kept.a', 4);
    await offline(() => server.publish('kept.a', 5));
    expect(got).toEqual([2, 3, 4, 5]);
  });

  it('last: what the server does not take ends the subscription', async () => {
    const onError = vi.fn();
    client.subscribe('kept.*', { pattern: true, last: 2, onError } as SubscribeOptions as { pattern: true }, () => {});
    client.subscribe('kept.a', { last: 1.5, onError }, () => {});
    await elapse();
    expect(onError.mock.calls.map(([{ code }]) => code)).toEqual([400, 400]);
  });

  // What a wrong position would do, at random: an event that is lost in silence, twice, or out of order.
  it.each([1, 2, 3, 4])('every event comes once and in order, or a gap says that it does not (%d)', async (seed) => {
    let state = seed * 7_919;
    const random = (below: number): number => (state = (state * 48_271) % 2_147_483_647) % below;
    vi.spyOn(Math, 'random').mockImplementation(() => random(1_000) / 1_000);
    start({ history: { 'kept.*': 8 } });
    client.subscribe('kept.a', { onGap: () => got.push('gap') }, ({ args }) => got.push(args));
    let published = 0;
    let kept: number[] = [];
    const lost = new Set<number>();
    const publish = (): void => {
      server.publish('kept.a', ++published);
      kept = [...kept, published].slice(-8);
    };
    const faults = [
      publish, publish, publish, publish, publish,
      () => server.disconnect(),
      () => server.cut(),
      () => server.goAway(),
      () => (server.reachable = !server.reachable),
      () => (server.delay = random(3) * 200),
      () => server.gap('kept.a'),
      () => {
        const count = random(4);
        for (const n of kept.splice(Math.max(0, kept.length - count))) lost.add(n);
        server.rollback('kept.a', count);
      },
    ];
    for (let step = 0; step < 150; step++) {
      faults[random(faults.length)]!();
      await elapse(random(3) && random(700));
    }
    server.reachable = true;
    await elapse(120_000);
    publish();
    await elapse(1_000);
    expect(got.at(-1)).toBe(published);
    let [last, gap] = [0, true];
    for (const item of got) {
      if (item === 'gap') gap = true;
      else {
        const missed = Array.from({ length: (item as number) - last - 1 }, (_, n) => last + 1 + n).filter((n) => !lost.has(n));
        expect(gap || missed.length === 0, `${missed} missed in silence`).toBe(true);
        expect(item as number, 'twice, or out of order').toBeGreaterThan(last);
        [last, gap] = [item as number, false];
      }
    }
  });
});

describe('a position is taken', () => {
  const at = (n: number, tag = `tag-${n}`): Message => ({ at: n, tag });
  let script: Script;
  let client: Client;
  let got: unknown[];

  /** Loses the connection, and returns what the client asks for on the next. */
  async function since(): Promise<unknown> {
    script.socket.drop();
    await elapse(1);
    return script.socket.hello().last('SUB')['since'];
  }

  const confirm = (more: Message = {}): unknown => script.socket.say({ type: 'ACK', for: script.socket.last('SUB')['id'], ...more });
  const event = (n: number, more: Message = {}): unknown => script.socket.say({ type: 'EVNT', id: `${n}`, channel: 'c', args: n, ...more });

  beforeEach(() => {
    script = new Script();
    client = new Client('ws://test/', { ...script.options, backoff: { min: 1, max: 1 } });
    got = [];
    client.subscribe('c', { onGap: () => got.push('gap') }, ({ args }) => got.push(args));
    script.socket.hello();
  });
  afterEach(() => client.close());

  it('from the confirmation, from each event, from a gap', async () => {
    confirm(at(5));
    expect(await since()).toEqual(at(5));
    confirm({ ...at(9), recovered: true });
    event(6, at(6));
    expect(await since()).toEqual(at(6));
    confirm({ ...at(9), recovered: true });
    script.socket.say({ type: 'GAP', channel: 'c', ...at(3) });
    expect(await since()).toEqual(at(3));
    expect(got).toEqual([6, 'gap']);
  });

  it('not from a confirmation that more is to come before', async () => {
    confirm(at(5));
    await since();
    confirm({ ...at(9), recovered: true });
    expect(await since()).toEqual(at(5));
  });

  it('from a confirmation after which nothing older comes', async () => {
    confirm(at(5));
    await since();
    confirm({ ...at(2), recovered: false });
    expect(await since()).toEqual(at(2));
    expect(got).toEqual(['gap']);
  });

  it('not from the answer to `last`, nor is that asked for again', async () => {
    client.subscribe('d', { last: 20, onGap: () => got.push('gap') }, () => {});
    const asked = script.socket.all('SUB').find(({ channel }) => channel === 'd')!;
    expect(asked).toMatchObject({ last: 20 });
    script.socket.say({ type: 'ACK', for: asked['id'], ...at(9) });
    await since();
    const again = script.socket.all('SUB').find(({ channel }) => channel === 'd')!;
    expect(again).toEqual({ type: 'SUB', id: expect.any(String), channel: 'd' });
  });

  it('not from events of a pattern, nor from what a publication is answered', async () => {
    client.subscribe('*', { pattern: true }, () => {});
    confirm(at(1));
    for (const { id } of script.socket.all('SUB')) script.socket.say({ type: 'ACK', for: id, ...at(5) });
    event(7, { ...at(7), pattern: '*' });
    void client.publish('c', 1);
    script.socket.say({ type: 'ACK', for: script.socket.last('PUB')['id'], ...at(8) });
    await since();
    const asked = script.socket.all('SUB');
    expect(asked.map(({ since }) => since)).toEqual([at(5), undefined]);
  });

  it('away by a gap, or an event, that has none', async () => {
    confirm(at(5));
    script.socket.say({ type: 'GAP', channel: 'c' });
    expect(await since()).toBeUndefined();
    confirm(at(5));
    event(6);
    expect(await since()).toBeUndefined();
  });

  it('from a server of before, that does not answer the question: there is a gap', async () => {
    confirm(at(5));
    await since();
    confirm();
    expect(got).toEqual(['gap']);
    expect(await since()).toBeUndefined();
  });

  it('on the old link until the new one is confirmed; what both bring is delivered once', async () => {
    confirm(at(5));
    const old = script.socket;
    old.say({ type: 'GOAWAY', after: 0 });
    await elapse();
    const fresh = script.socket.hello({ session: 's2' });
    expect(fresh.last('SUB')['since']).toEqual(at(5));
    for (const n of [6, 7]) old.say({ type: 'EVNT', id: `${n}`, channel: 'c', args: n, ...at(n) });
    confirm({ ...at(8), recovered: true });
    expect(old.all('UNSB')).toHaveLength(1);
    event(6, at(6));
    expect(await since()).toEqual(at(7));
    expect(got).toEqual([6, 7]);
  });
});
