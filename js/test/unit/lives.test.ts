// Clients that live at random: whatever happens in whatever order, each promise
// settles, events keep their order without repetition, gaps are told, and
// nothing is left in the end. LIVES=3000 tries that many.
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Client } from '../../src/index.js';
import { MockServer } from '../../src/testing.js';

interface App {
  calls: { echo: (args: number) => number; wait: () => void };
  channels: { [channel: string]: number };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

/** Numbers from 0 to below 1, always the same ones of a seed. */
function numbers(seed: number): () => number {
  let state = seed * 2_654_435_761;
  return () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32;
}

class Life {
  readonly random;
  readonly server = new MockServer<App>({ limits: { calls: 4, subscriptions: 3 } });
  readonly client;
  readonly wrong: string[] = [];
  #pending = 0;
  #published: Record<string, number> = {};
  #ends: (() => void)[] = [];
  #nested = 0;
  #off: () => void;

  constructor(seed: number) {
    this.random = numbers(seed);
    vi.spyOn(Math, 'random').mockImplementation(this.random);
    const { server, random } = this;
    server.handle('echo', (args) => args).handle('wait', (_, { signal }) => new Promise((resolve) => (signal.onabort = () => resolve())));
    this.client = new Client<App>('ws://mock', { WebSocket: server.WebSocket, timeout: 3_000, queueLimit: 20, logger: () => {}, ...(random() < 0.5 && { auth: () => 'token' }) });
    this.#off = this.client.on('state', () => {
      if (this.#nested++ < 2 && random() < 0.3) this.step();
      this.#nested--;
    });
  }

  /** One thing happens. */
  step(): void {
    const { client, server, random } = this;
    const channel = `c${Math.floor(random() * 4)}`;
    const things = [
      () => client.connect(),
      () => random() < 0.3 && this.#track(client.close()),
      () => this.#track(client.call('echo', 1, { idempotent: random() < 0.5, wait: random() < 0.8 })),
      () => this.#track(client.call('wait', undefined, { signal: this.#signal(), timeout: 500 + random() * 2_000 })),
      () => this.#track(client.drained()),
      () => this.#publish(channel),
      () => this.#publish(channel),
      () => this.#publish(channel),
      () => this.#subscribe(channel),
      () => this.#loop(channel),
      () => this.#ends.splice(Math.floor(random() * this.#ends.length), 1)[0]?.(),
      () => server.disconnect([undefined, 1000, 1002, 4500][Math.floor(random() * 4)]),
      () => server.goAway(random() * 300),
      () => server.refuse('echo', { code: 503, retryAfter: 200, times: 2 }),
      () => void (server.delay = random() < 0.5 ? 0 : random() * 100),
      () => void (server.reachable = random() < 0.8),
      () => void (server.refusing = random() < 0.8 ? undefined : { code: random() < 0.5 ? 1013 : 4403 }),
    ];
    things[Math.floor(random() * things.length)]!();
  }

  /** Everything ends; what is left then is wrong. */
  async end(): Promise<void> {
    this.#off();
    for (const end of this.#ends) end();
    await this.client.close();
    await vi.advanceTimersByTimeAsync(60_000);
    const left = { pending: this.#pending, connections: this.server.connections, timers: vi.getTimerCount() };
    expect({ ...left, wrong: this.wrong }).toEqual({ pending: 0, connections: 0, timers: 0, wrong: [] });
  }

  #track(promise: Promise<unknown>): void {
    const settled = () => void this.#pending--;
    this.#pending++;
    promise.then(settled, settled);
  }

  #publish(channel: string): void {
    this.#published[channel] = (this.#published[channel] ?? 0) + 1;
    this.server.publish(channel, this.#published[channel]);
  }

  #signal(): AbortSignal {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), this.random() * 1_000);
    return controller.signal;
  }

  #subscribe(channel: string): void {
    let last: number | undefined;
    const sub = this.client.subscribe(channel, { onGap: () => (last = undefined) }, ({ args }) => {
      if (last !== undefined && args !== last + 1) this.wrong.push(`${channel}: ${args} after ${last}`);
      last = args;
    });
    if (this.random() < 0.5) this.#track(sub.ready);
    this.#ends.push(sub.unsubscribe);
  }

  #loop(channel: string): void {
    const sub = this.client.subscribe(channel);
    this.#ends.push(sub.unsubscribe);
    const take = async (): Promise<void> => {
      for await (const _ of sub) if (this.random() < 0.2) break;
    };
    this.#track(take());
  }
}

it.each(Array.from({ length: +(process.env['LIVES'] ?? 40) }, (_, seed) => seed))('life %i ends with nothing left', async (seed) => {
  const life = new Life(seed);
  for (let steps = 0; steps < 120; steps++) {
    life.step();
    if (life.random() < 0.5) await vi.advanceTimersByTimeAsync(life.random() * 400);
  }
  await life.end();
});
