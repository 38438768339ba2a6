// Whatever happens to connections: what the server subscribes to comes in order and once, and
// nothing is missing without a gap; who is there is, in the end, what the server says.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, members, withServer } from '../../src/index.js';
import { MockServer } from '../../src/testing.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** Numbers below n, the same ones for the same seed. */
function randomOf(seed: number): (n: number) => number {
  let state = seed * 2_654_435_761 + 1;
  return (n) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
}

const elapse = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

describe.each([['kept', true], ['plain', true], ['kept', false], ['plain', false]] as const)('a channel, %s (own: %s)', (kind, own) => {
  it.each(Array.from({ length: 60 }, (_, i) => i))('in the order of seed %i', async (seed) => {
    const random = randomOf(seed);
    vi.spyOn(Math, 'random').mockImplementation(() => random(1_000) / 1_000); // of pauses
    const server = new MockServer({ history: { '\0kept': 10_000, kept: 10_000 } });
    const client = new Client('ws://mock', { WebSocket: server.WebSocket, logger: () => {}, backoff: { min: 5, max: 50 } });
    const log: (number | 'gap')[] = [];
    let lost = 0;
    server.here('room', []);
    server.subscribe(kind, { own });
    // What both sides want comes to both alike.
    const alike: unknown[] = [];
    if (!own) client.subscribe(kind, ({ args }) => alike.push(args));
    client.subscribe(kind, withServer({ own, onGap: () => log.push('gap') }), ({ args }) => log.push(args as number));
    const room = members(client, 'room', () => {});
    await room.ready;
    await elapse(0);
    let published = 0;
    let users = new Set<string>();
    const publish = (): void => (own ? server.publishOwn(kind, ++published) : server.publish(kind, ++published));
    const happenings: (() => unknown)[] = [
      publish,
      publish,
      () => {
        if (!own && kind === 'plain') return;
        lost++;
        server.unsubscribe(kind, { own, code: 503 });
        if (random(2)) publish();
        server.subscribe(kind, { own });
      },
      () => server.goAway(random(3) * 10),
      () => void (lost++, random(2) ? server.disconnect() : server.cut()),
      () => (server.delay = random(4) * 7),
      () => elapse(random(40)),
      () => elapse(random(400)),
      () => {
        users = new Set(Array.from({ length: random(6) }, () => `user-${random(8)}`));
        server.here('room', [...users].map((user) => ({ user })));
      },
    ];
    for (let i = 0; i < 80; i++) await happenings[random(happenings.length)]!();
    server.delay = 0;
    await elapse(5_000);
    publish();
    await elapse(5_000);
    const numbers = log.filter((entry): entry is number => entry !== 'gap');
    expect(numbers, 'in order, and once').toEqual([...new Set(numbers)].sort((a, b) => a - b));
    expect(numbers.at(-1)).toBe(published);
    if (!own) expect(alike).toEqual(numbers);
    if (kind === 'kept') expect([numbers.length, log.includes('gap')]).toEqual([published, false]);
    let last = 0;
    let known = true;
    for (const entry of log) {
      if (entry === 'gap') known = false;
      else {
        if (known) expect(entry, `after ${last}, without a gap`).toBe(last + 1);
        [last, known] = [entry, true];
      }
    }
    if (lost === 0) expect(log).not.toContain('gap');
    expect(new Set(room.members!.map(({ user }) => user))).toEqual(users);
    expect(server.connections).toBe(1);
    await client.close();
  });
});
