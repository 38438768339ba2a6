// withState: the state first, then the events that change it.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, withState, type SubscribeOptions } from '../../src/index.js';
import { MockServer } from '../../src/testing.js';

const elapse = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

let server: MockServer;
let client: Client;
let got: unknown[];
let reads: { signal: AbortSignal; resolve: () => void; reject: (cause: unknown) => void }[];
let errors: string[];

beforeEach(() => {
  vi.useFakeTimers();
  server = new MockServer({ history: { 'kept.*': 100 } });
  client = new Client('ws://mock', { WebSocket: server.WebSocket, logger: () => {} });
  [got, reads, errors] = [[], [], []];
  client.on('error', ({ message }) => errors.push(message));
});
afterEach(async () => {
  await client.close();
  vi.useRealTimers();
});

const read = (signal: AbortSignal): Promise<void> => new Promise((resolve, reject) => reads.push({ signal, resolve, reject }));

function subscribe(options: SubscribeOptions & { pattern?: false } = {}, channel = 'kept.a'): { unsubscribe(): void } {
  return client.subscribe(channel, withState(read, options), ({ args }) => got.push(args));
}

async function publish(...args: unknown[]): Promise<void> {
  for (const each of args) server.publish('kept.a', each);
  await elapse();
}

async function answer(how: 'resolve' | 'reject' = 'resolve'): Promise<void> {
  got.push('state');
  reads.at(-1)![how](new Error('no'));
  await elapse();
}

describe('a state', () => {
  it('is read once the subscription is confirmed, and events wait for it', async () => {
    server.delay = 100;
    subscribe();
    await elapse(50);
    expect(reads).toHaveLength(0);
    await elapse(500);
    server.delay = 0;
    await publish(1, 2);
    expect(got).toEqual([]);
    await answer();
    await publish(3);
    expect(got).toEqual(['state', 1, 2, 3]);
    expect(reads).toHaveLength(1);
  });

  it('is not read again where what was missed comes', async () => {
    subscribe();
    await elapse();
    await answer();
    server.disconnect();
    await elapse(1);
    await publish(1);
    await elapse(60_000);
    expect(got).toEqual(['state', 1]);
    expect(reads).toHaveLength(1);
  });

  it.each([
    ['the server says that events may be missing', () => server.gap('kept.a')],
    ['what was missed is not there any more', async () => {
      server.disconnect();
      await elapse(1);
      await publish('gone');
      server.forget('kept.a');
      await elapse(60_000);
    }],
  ])('is read again where %s', async (_, happen) => {
    const onGap = vi.fn();
    subscribe({ onGap });
    await elapse();
    await answer();
    await happen();
    await publish(1);
    expect(onGap).toHaveBeenCalledOnce();
    expect(got).toEqual(['state']);
    await answer();
    expect(got).toEqual(['state', 'state', 1]);
  });

  it('that is out of date before it is read is read anew, not at the same time', async () => {
    subscribe();
    await elapse();
    await publish(1);
    server.gap('kept.a');
    await publish(2);
    expect(reads).toHaveLength(1);
    await answer();
    expect(reads).toHaveLength(2);
    await answer();
    expect(got).toEqual(['state', 'state', 2]);
  });

  it('is read anew where too many events wait', async () => {
    subscribe({ buffer: 3 });
    await elapse();
    await publish(1, 2, 3, 4, 5);
    await answer();
    await answer();
    expect(got).toEqual(['state', 'state', 5]);
  });

  it('that cannot be read is asked for again, with growing pauses, and the client tells', async () => {
    subscribe();
    await elapse();
    await publish(1);
    for (const pause of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
      const before = reads.length;
      await answer('reject');
      await elapse(pause - 1);
      expect(reads).toHaveLength(before);
      await elapse(1);
      expect(reads).toHaveLength(before + 1);
    }
    expect(errors).toEqual(Array(7).fill('the state of kept.a threw: Error: no'));
    got = [];
    await answer();
    expect(got).toEqual(['state', 1]);
  });

  it('is asked for at once when there is a subscription again', async () => {
    subscribe();
    await elapse();
    await answer('reject');
    await client.close();
    expect(vi.getTimerCount()).toBe(0);
    client.connect();
    await elapse();
    expect(reads).toHaveLength(2);
  });

  it('is nobody\'s business after unsubscribe, though it comes', async () => {
    const { unsubscribe } = subscribe();
    await elapse();
    await publish(1);
    unsubscribe();
    expect(reads[0]!.signal.aborted).toBe(true);
    await answer('resolve');
    subscribe();
    await elapse();
    const second = subscribe({}, 'kept.b');
    await elapse();
    second.unsubscribe();
    await answer('reject');
    await elapse(60_000);
    expect(reads).toHaveLength(3);
    expect([got, errors]).toEqual([['state', 'state'], []]);
  });

  it('that a handler unsubscribes from is told no more', async () => {
    const subscription = client.subscribe('kept.a', withState(read), ({ args }) => {
      got.push(args);
      subscription.unsubscribe();
    });
    await elapse();
    await publish(1, 2);
    await answer();
    expect(got).toEqual(['state', 1]);
  });

  it('may be that of a pattern, and of a loop', async () => {
    const events = client.subscribe('kept.*', withState(read, { pattern: true }));
    await elapse();
    await publish(1);
    const next = events.next();
    await answer();
    expect((await next).value).toMatchObject({ args: 1, channel: 'kept.a' });
  });
});
