// The client keeps to the rates that HELLO states: a server need not refuse.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, CoreClient, type ClientOptions } from '../../src/index.js';
import { Script, type Message, type ScriptedSocket } from '../support/script.js';

let script: Script;

beforeEach(() => {
  vi.useFakeTimers();
  script = new Script();
});
afterEach(() => {
  vi.useRealTimers();
});

type Rate = { per_second: number; burst: number };

function open(rates: Record<string, Rate>, options: ClientOptions = {}): Client {
  const client = new Client('ws://test/', { ...script.options, ...options });
  client.connect();
  script.socket.hello({ limits: { rates } });
  return client;
}

/** Counts as the server does (internal/rate), and expects that it need not refuse. */
function watchRate(socket: ScriptedSocket, { per_second, burst }: Rate, units: (message: Message) => number): () => number {
  let paid = 0;
  let counted = 0;
  const send = socket.send.bind(socket);
  socket.send = (text) => {
    send(text);
    const n = Math.min(units(JSON.parse(text) as Message), burst);
    paid = Math.max(paid, performance.now()) + (n * 1_000) / per_second;
    counted += n;
    expect(paid - performance.now(), text.slice(0, 60)).toBeLessThanOrEqual((burst * 1_000) / per_second);
  };
  return () => counted;
}

const is = (type: string) => (message: Message) => (message['type'] === type ? 1 : 0);
const bytes = (message: Message): number => 1 + Math.floor(Buffer.byteLength(JSON.stringify(message)) / 1_024);

describe('a rate', () => {
  it.each<[string, string, Rate, (message: Message) => number, (client: Client, n: number) => void]>([
    ['of calls', 'calls', { per_second: 10, burst: 4 }, is('CALL'), (client, n) => void client.call('x', n).catch(() => {})],
    ['of calls, one at once', 'calls', { per_second: 10, burst: 1 }, is('CALL'), (client, n) => void client.call('x', n).catch(() => {})],
    ['of publications', 'publications', { per_second: 10, burst: 4 }, is('PUB'), (client, n) => void client.publish('x', n).catch(() => {})],
    ['of subscriptions', 'subscriptions', { per_second: 10, burst: 4 }, is('SUB'), (client, n) => void client.subscribe(`x${n}`, () => {})],
    ['of messages', 'messages', { per_second: 10, burst: 4 }, () => 1, (client, n) => void (n % 2 ? client.call('x').catch(() => {}) : client.subscribe(`x${n}`, () => {}))],
    ['of messages, by KiB', 'messages', { per_second: 100, burst: 20 }, bytes, (client, n) => void client.publish('x', 'ü'.repeat(n * 500)).catch(() => {})],
  ])('%s is kept, and used', async (_, name, rate, units, send) => {
    const client = open({ [name]: rate });
    const counted = watchRate(script.socket, rate, units);
    for (let n = 0; n < 30; n++) send(client, n);
    expect(counted()).toBeLessThanOrEqual(rate.burst);
    const began = performance.now();
    while (performance.now() - began < 25_000 && script.socket.received.length < 30) {
      await vi.advanceTimersByTimeAsync(10);
      script.socket.ack('PUB').ack('SUB');
    }
    expect(script.socket.received).toHaveLength(30);
    const least = ((counted() - rate.burst) * 1_000) / rate.per_second;
    expect(performance.now() - began).toBeLessThan(least * 1.3 + 1_500);
    await client.close();
  });

  it('of one kind holds up no other, and each kind keeps its order', async () => {
    const client = open({ calls: { per_second: 1, burst: 1 } });
    for (let n = 0; n < 3; n++) client.call('x', n).catch(() => {});
    client.publish('c', 'at once').catch(() => {});
    expect(script.socket.received.map(({ type, args }) => [type, args])).toEqual([['CALL', 0], ['PUB', 'at once']]);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(script.socket.all('CALL').map(({ args }) => args)).toEqual([0, 1, 2]);
    await client.close();
  });

  it('is another on the next connection, where what waits is sent', async () => {
    const client = open({ calls: { per_second: 0.001, burst: 1 } }, { backoff: { min: 1, max: 1 } });
    const results = [0, 1, 2].map((n) => client.call('x', n, { idempotent: true }));
    expect(script.socket.all('CALL')).toHaveLength(1);
    script.socket.drop();
    await vi.advanceTimersByTimeAsync(10);
    script.socket.hello({ limits: { rates: { calls: { per_second: 10, burst: 4 } } } });
    await vi.advanceTimersByTimeAsync(100);
    for (const { id, args } of script.socket.all('CALL')) script.socket.say({ type: 'RES', for: id, args });
    expect((await Promise.all(results)).sort()).toEqual([0, 1, 2]);
    await client.close();
  });

  it('lets a call that it delays run out of time, be aborted, and be told from one that was sent', async () => {
    const client = open({ calls: { per_second: 0.001, burst: 1 } });
    void client.call('first').catch(() => {});
    const controller = new AbortController();
    const late = client.call('late', 0, { timeout: 100 }).catch((error: unknown) => error);
    const aborted = client.call('aborted', 0, { signal: controller.signal }).catch((error: unknown) => error);
    controller.abort('enough');
    await vi.advanceTimersByTimeAsync(100);
    expect(await aborted).toBe('enough');
    expect(await late).toMatchObject({ code: 408, outcome: 'refused' });
    await client.close();
    expect(script.socket.all('CALL')).toHaveLength(1);
    expect(vi.getTimerCount()).toBeLessThanOrEqual(1);
  });

  it.each([null, 5, 'x', [], { calls: 5 }, { calls: { per_second: 'x', burst: {} } }, { calls: { per_second: 0 } }, { messages: null }])(
    'that is %j is none',
    async (rates) => {
      const client = new Client('ws://test/', script.options);
      client.connect();
      script.socket.hello({ limits: { rates } });
      for (let n = 0; n < 10; n++) client.call('x', n).catch(() => {});
      expect(script.socket.all('CALL')).toHaveLength(10);
      await client.close();
    },
  );

  it('is kept by the core', async () => {
    const client = new CoreClient('ws://test/', script.options);
    client.connect();
    script.socket.hello({ limits: { rates: { calls: { per_second: 10, burst: 4 } } } });
    for (let n = 0; n < 10; n++) client.call('x', n).catch(() => {});
    expect(script.socket.all('CALL').length).toBeLessThanOrEqual(4);
    await client.close();
  });
});
