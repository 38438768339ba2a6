// What applications pass is checked before anything is sent.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, JugglerError, type ClientOptions, type SubscribeOptions } from '../../src/index.js';
import { mistakes } from '../support/mistakes.js';
import { patience } from '../support/patience.js';
import { Script } from '../support/script.js';

let script: Script;

beforeEach(() => {
  script = new Script();
});

afterEach(() => {
  vi.restoreAllMocks();
});

function open(options: ClientOptions = {}): Client {
  const client = new Client('ws://test/', { ...script.options, ...options });
  client.connect();
  script.socket.hello();
  return client;
}

describe('a mistake', () => {
  it.each(mistakes)('%s: rejects, and sends nothing', async (_, make) => {
    const client = open();
    const error = await make(client).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(JugglerError);
    expect(error).toMatchObject({ code: 400, outcome: 'refused', retryable: false });
    expect((error as Error).message).toMatch(/want|JSON|oops|circular|BigInt|stack/i);
    expect(script.socket.received).toEqual([]);
    expect(client.state.status).toBe('open');
    await client.close();
  });

  it.each([
    [(c: Client<any>) => c.call(undefined as never), 'uri: want a string that is not empty, not undefined'],
    [(c: Client<any>) => c.publish('', 1), 'channel: want a string that is not empty, not ""'],
    [(c: Client<any>) => c.call('x', [undefined]), 'args, at 0: want what JSON can say, not undefined'],
    [(c: Client<any>) => c.call('x', 1, { timeout: NaN }), 'timeout: want finite milliseconds above 0, not NaN'],
    [(c: Client<any>) => c.call('x', 1, { headers: new Map() as never }), 'headers: want an object of strings, not [object Map]'],
    [(c: Client<any>) => c.call('x', 1, { headers: { a: 1 as never } }), 'headers.a: want a string, not 1'],
    [(c: Client<any>) => c.call('x', 1, { signal: {} as never }), 'signal: want an AbortSignal, not [object Object]'],
    [(c: Client<any>) => c.subscribe(7 as never).ready, 'channel: want a string that is not empty, not 7'],
  ])('is told by name: %s', async (make, message) => {
    await expect(make(open())).rejects.toThrow(message);
  });

  it('in a subscription ends it, and tells who listens: what subscribes goes on', async () => {
    const client = open();
    const [errors, onError] = [vi.fn(), vi.fn()];
    client.on('error', errors);
    const sub = client.subscribe(undefined as never, { onError }, () => {});
    await expect(sub.next()).rejects.toThrow('channel: want a string that is not empty, not undefined');
    for (const told of [errors, onError]) expect(told).toHaveBeenCalledExactlyOnceWith(expect.any(JugglerError));
    sub.unsubscribe();
    script.socket.drop();
    client.connect();
    script.socket.hello();
    expect(script.socket.received).toEqual([]);
    await client.close();
  });

  it('is none: what JSON can say, and options that are not there', async () => {
    const client = open();
    const date = new Date(0);
    let deep: unknown = 1;
    for (let i = 0; i < 500; i++) deep = ['"[\\'.repeat(20), deep];
    for (const args of [undefined, null, 0, 'x', { a: undefined }, [null], date, { toJSON: () => 1 }, deep]) {
      void client.call('x', args, null as never).catch(() => {});
      expect(JSON.stringify(script.socket.last('CALL')['args'])).toBe(JSON.stringify(args));
    }
    void client.call('x', 1, { signal: null as never, headers: null as never, timeout: undefined as never }).catch(() => {});
    expect(script.socket.last('CALL')).not.toHaveProperty('headers');
    void client.call('x', 1, { headers: { a: 'b', c: undefined as never } }).catch(() => {});
    expect(script.socket.last('CALL')['headers']).toEqual({ a: 'b' });
    await client.close();
  });
});

it('what is nested deeper than a server takes is refused where JSON.stringify makes it, as some engines do', async () => {
  const client = open();
  let deep: unknown = 1;
  for (let i = 0; i < 10_000; i++) deep = [deep];
  vi.spyOn(JSON, 'stringify').mockReturnValueOnce('"x"').mockReturnValueOnce('1');
  await expect(client.call('x', deep)).rejects.toThrow('want less nesting');
  expect(script.socket.received).toEqual([]);
  vi.restoreAllMocks();
  await client.close();
});

describe('the constructor', () => {
  it.each<[unknown, unknown, string]>([
    [undefined, {}, 'url: want a string that is not empty, not undefined'],
    ['', {}, 'url: want a string'],
    ['ws://x', 5, 'options: want an object, not 5'],
    ['ws://x', null, 'options: want an object, not null'],
    ['ws://x', { backoff: 500 }, 'backoff: want an object, not 500'],
    ['ws://x', { backoff: { min: 0 } }, 'backoff.min: want finite milliseconds above 0, not 0'],
    ['ws://x', { backoff: { min: NaN } }, 'backoff.min'],
    ['ws://x', { backoff: { max: 0 } }, 'backoff.max: want finite milliseconds above 0, not 0'],
    ['ws://x', { backoff: { max: -5 } }, 'backoff.max'],
    ['ws://x', { backoff: { max: '500' } }, 'backoff.max: want finite milliseconds above 0, not "500"'],
    ['ws://x', { timeout: Infinity }, 'timeout: want finite milliseconds above 0, not Infinity'],
    ['ws://x', { connectTimeout: 0 }, 'connectTimeout: want finite milliseconds above 0, not 0'],
    ['ws://x', { queueLimit: -1 }, 'queueLimit: want a number, 0 or more, not -1'],
    ['ws://x', { queueLimit: NaN }, 'queueLimit'],
    ['ws://x', { auth: 'token' }, 'auth: want a function, not "token"'],
    ['ws://x', { WebSocket: {} }, 'WebSocket: want a function, not [object Object]'],
    ['ws://x', { logger: console }, 'logger: want a function, not'],
  ])('refuses %j with %j', (url, options, message) => {
    expect(() => new Client(url as string, options as ClientOptions)).toThrow(message);
  });

  it('keeps options as they were then', async () => {
    const options = { ...script.options, backoff: { min: 10, max: 10 } };
    const client = new Client('ws://test/', options);
    options.backoff.min = NaN;
    delete options.WebSocket;
    client.connect();
    script.socket.hello();
    expect(client.state.status).toBe('open');
    await client.close();
  });

  it('on() refuses what is no function', () => {
    expect(() => new Client('ws://x').on('state', undefined as never)).toThrow('listener: want a function, not');
  });
});

describe('what the application is asked to do', () => {
  it.each<[string, (fail: () => never) => [SubscribeOptions & { pattern?: false }, () => void]]>([
    ['a handler', (fail) => [{}, fail]],
    ['an async handler', (fail) => [{}, async () => fail()]],
    ['onGap', (fail) => [{ onGap: fail }, () => {}]],
    ['an async onGap', (fail) => [{ onGap: async () => fail() }, () => {}]],
  ])('%s that fails is told, and harms nobody', async (_, make) => {
    const client = open();
    const [errors, other] = [vi.fn(), vi.fn()];
    client.on('error', errors);
    const cause = Object.create(null) as Error; // Has no text.
    client.subscribe('c', ...make(() => {
      throw cause;
    }));
    client.subscribe('c', other);
    script.socket.ack('SUB').say({ type: 'EVNT', id: '1', channel: 'c', args: 1 }).say({ type: 'GAP', channel: 'c' });
    await Promise.resolve();
    await Promise.resolve();
    expect(other).toHaveBeenCalledTimes(1);
    expect(errors).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: 500, cause }));
    expect(script.logged).toContainEqual(['error', 'a handler of c threw']);
    await client.close();
  });

  it('an async onError that fails is told', async () => {
    const client = open();
    const errors = vi.fn();
    client.on('error', errors);
    client.subscribe('c', { onError: () => Promise.reject(new Error('oops')) });
    script.socket.say({ type: 'NACK', for: '1', error: { code: 403, message: 'no' } });
    await Promise.resolve();
    expect(errors).toHaveBeenCalledWith(expect.objectContaining({ message: 'a handler of c threw: Error: oops' }));
    await client.close();
  });

  it('send() of a WebSocket that throws ends the connection, and what waits is sent on the next', async () => {
    const client = open({ backoff: { min: 1, max: 1 } });
    script.socket.send = () => {
      throw new Error('oops');
    };
    const result = client.call('x');
    await vi.waitFor(() => expect(script.sockets).toHaveLength(2), patience);
    expect(client.state.status).toBe('connecting');
    script.socket.hello().say({ type: 'RES', for: '1', args: 'ok' });
    expect(await result).toBe('ok');
    await client.close();
  });
});
