// Publications that the server knows again: what is unknown is repeated.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, type ClientOptions, type PublishOptions } from '../../src/index.js';
import { MockServer, type MockServerOptions } from '../../src/testing.js';
import { Script, type Message } from '../support/script.js';

const elapse = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

describe('with a server that keeps events', () => {
  let server: MockServer;
  let client: Client;

  function start(options: MockServerOptions = {}, more: ClientOptions = {}): void {
    server = new MockServer({ history: { 'kept.*': 100 }, ...options });
    client = new Client('ws://mock', { WebSocket: server.WebSocket, logger: () => {}, backoff: { min: 1, max: 1 }, ...more });
  }

  const publish = (...all: number[]): Promise<PromiseSettledResult<void>[]> => Promise.allSettled(all.map((n) => client.publish('kept.a', n)));
  const done = (results: PromiseSettledResult<void>[]): unknown[] => results.map((result) => (result.status === 'fulfilled' ? true : (result.reason as unknown)));
  const args = (): unknown[] => server.published.map(({ args }) => args);

  beforeEach(() => start());
  afterEach(() => client.close());

  it('what was taken, and not acknowledged, is not made twice, and what was not is made, in order', async () => {
    client.connect();
    await elapse();
    server.delay = 100;
    const first = publish(1, 2);
    await elapse(50);
    const second = publish(3);
    server.cut();
    const third = publish(4);
    await elapse(10_000);
    expect(done([...(await first), ...(await second), ...(await third)])).toEqual([true, true, true, true]);
    expect(args()).toEqual([1, 2, 3, 4]);
  });

  it('on a channel that is not kept, what is unknown stays so, and is not made twice', async () => {
    client.connect();
    await elapse();
    server.delay = 100;
    const published = expect(client.publish('other', 1)).rejects.toMatchObject({ outcome: 'unknown' });
    const repeatable = client.publish('other', 2, { idempotent: true });
    await elapse(50);
    server.cut();
    await elapse(10_000);
    await published;
    await repeatable;
    expect(args()).toEqual([1, 2, 2]);
  });

  it('a key of the application makes it known again, and its args are compared', async () => {
    const own: PublishOptions = { key: 'ü'.repeat(32) };
    await client.publish('kept.a', 1, own);
    await client.publish('kept.a', 1, own);
    await client.publish('kept.b', 1, own);
    expect(server.published).toHaveLength(2);
    await expect(client.publish('kept.a', 2, own)).rejects.toMatchObject({ code: 409, outcome: 'refused' });
    await expect(client.publish('kept.a', 1, { key: 'x'.repeat(65) })).rejects.toMatchObject({ code: 400 });
  });

  it('who signs in may give keys from then on, and a guest may not', async () => {
    start({ auth: () => true }, { auth: () => 'token' });
    client.connect();
    await elapse();
    server.delay = 100;
    const published = publish(1);
    await elapse(50);
    server.cut();
    await elapse(10_000);
    expect(done(await published)).toEqual([true]);
    expect(args()).toEqual([1]);
    start({ auth: () => true });
    await expect(client.publish('kept.a', 1, { key: 'k' })).rejects.toMatchObject({ code: 403 });
    await client.publish('kept.a', 1);
  });
});

describe('a publication', () => {
  let script: Script;
  let client: Client;

  async function reconnect(hello: Message = { keys: true }): Promise<void> {
    script.socket.drop();
    await elapse(1);
    script.socket.hello(hello);
  }

  beforeEach(() => {
    script = new Script();
    client = new Client('ws://test/', { ...script.options, backoff: { min: 1, max: 1 } });
    client.connect();
  });
  afterEach(() => client.close());

  it('has a key of its own, if the server says that it may', async () => {
    script.socket.hello({ keys: true });
    for (let n = 0; n < 3; n++) client.publish('c', n).catch(() => {});
    client.call('a').catch(() => {});
    const keys = script.socket.all('PUB').map(({ key }) => key as string);
    expect(new Set(keys).size).toBe(3);
    for (const key of keys) expect(key).toMatch(/^.{12,64}$/);
    expect(script.socket.last('CALL')).not.toHaveProperty('key');
  });

  it('has none otherwise, and is not repeated', async () => {
    script.socket.hello();
    const published = client.publish('c', 1);
    expect(script.socket.last('PUB')).not.toHaveProperty('key');
    const own = client.publish('c', 2, { key: 'k' });
    expect(script.socket.last('PUB')).toMatchObject({ key: 'k' });
    const settled = Promise.allSettled([published, own]);
    await reconnect();
    expect(await settled).toEqual([{ status: 'rejected', reason: expect.objectContaining({ outcome: 'unknown', retryable: false }) }, { status: 'rejected', reason: expect.objectContaining({ outcome: 'unknown' }) }]);
    expect(script.socket.all('PUB')).toEqual([]);
  });

  it('is repeated with the same key and before later ones', async () => {
    script.socket.hello({ keys: true });
    const published = [client.publish('c', 1), client.publish('c', 2, { key: 'own' })];
    const before = script.socket.all('PUB');
    script.socket.drop();
    published.push(client.publish('c', 3));
    await elapse(1);
    script.socket.hello({ keys: true });
    const after = script.socket.all('PUB').map(({ args, key, again }) => [args, key, again]);
    expect(after).toEqual([[1, before[0]!['key'], true], [2, 'own', true], [3, expect.any(String), undefined]]);
    expect(before.map(({ again }) => again)).toEqual([undefined, undefined]);
    script.socket.ack('PUB');
    await Promise.all(published);
  });

  it('is not repeated where the server would not know it again', async () => {
    script.socket.hello({ keys: true });
    const published = client.publish('c', 1);
    const failed = expect(published).rejects.toMatchObject({ outcome: 'unknown', retryable: false });
    await reconnect({});
    await failed;
    expect(script.socket.all('PUB')).toEqual([]);
    await reconnect();
    const late = expect(client.publish('c', 2, { timeout: 300_001 })).rejects.toMatchObject({ outcome: 'unknown' });
    await reconnect();
    await late;
    expect(script.socket.all('PUB')).toEqual([]);
  });

  it.each([
    ['its own randomness', undefined],
    ['no other', null],
  ])('its key is random where the runtime has %s', async (_, crypto) => {
    vi.resetModules();
    const fresh = (await import('../../src/index.js')).Client;
    if (crypto === null) vi.stubGlobal('crypto', undefined);
    const other = new fresh('ws://test/', script.options);
    other.connect();
    script.socket.hello({ keys: true });
    other.publish('c', 1).catch(() => {});
    expect(script.socket.last('PUB')['key']).toMatch(/^.{12,64}$/);
    await other.close();
  });
});
