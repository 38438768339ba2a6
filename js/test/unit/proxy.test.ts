// Where applications keep what the client gives them: stores, proxies, other threads, JSON.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { reactive, ref } from 'vue';
import { Client, JugglerError, type Subscription } from '../../src/index.js';
import { Script } from '../support/script.js';

/** What stores do: each object that is read from one is wrapped too, functions included. */
function deep<T extends object>(target: T): T {
  return new Proxy(target, {
    get(object, key, receiver) {
      const value: unknown = Reflect.get(object, key, receiver);
      return (typeof value === 'object' && value) || typeof value === 'function' ? deep(value) : value;
    },
  });
}

function deepFreeze<T>(target: T): T {
  for (const value of Object.values(Object.getOwnPropertyDescriptors(target))) {
    const held: unknown = value.value ?? value.get;
    if (Object(held) === held && !Object.isFrozen(held)) deepFreeze(held);
  }
  return Object.freeze(target);
}

const ways: [string, <T extends object>(target: T) => T][] = [
  ['a plain Proxy', (target) => new Proxy(target, {})],
  ['a deep Proxy', deep],
  ["Vue's ref()", (target) => ref(target).value as typeof target],
  ["Vue's reactive()", (target) => reactive({ target }).target as typeof target],
  ['Object.create()', (target) => Object.create(target) as typeof target],
  ['Object.freeze() of all it has', deepFreeze],
];

let script: Script;

beforeEach(() => {
  script = new Script();
});

afterEach(() => {
  vi.restoreAllMocks();
});

describe.each(ways)('through %s', (_, through) => {
  it('a client does all that it does', async () => {
    const client = through(new Client('ws://test/', script.options));
    const states: string[] = [];
    const off = client.on('state', ({ status }) => states.push(status));
    client.connect();
    script.socket.hello();
    expect(client.state.status).toBe('open');
    const call = client.call('a', 1);
    const published = client.publish('c', 2);
    const handler = vi.fn();
    const sub = through(client.subscribe('c', handler));
    script.socket.say({ type: 'RES', for: '1', args: 'answer' }).ack('PUB').ack('SUB');
    expect(await call).toBe('answer');
    await published;
    await sub.ready;
    script.socket.say({ type: 'EVNT', id: '1', channel: 'c', args: 1 });
    expect(handler).toHaveBeenCalledTimes(1);
    off();
    await client[Symbol.asyncDispose]();
    expect(client.state.status).toBe('closed');
    expect(states).toEqual(['connecting', 'open']);
  });

  it('a subscription does all that it does', async () => {
    const client = new Client('ws://test/', script.options);
    const sub = through(client.subscribe('c'));
    script.socket.hello().ack('SUB').say({ type: 'EVNT', id: '1', channel: 'c', args: 1 });
    await sub.ready;
    expect(sub).toMatchObject({ channel: 'c', pattern: false });
    expect(await sub.next()).toMatchObject({ value: { args: 1 } });
    for await (const { args } of ((): Subscription => {
      script.socket.say({ type: 'EVNT', id: '2', channel: 'c', args: 2 });
      return sub;
    })()) {
      expect(args).toBe(2);
      break;
    }
    sub.unsubscribe();
    sub[Symbol.dispose]();
    expect(script.socket.all('UNSB')).toHaveLength(1);
    await client.close();
  });

  it('an error is one', () => {
    const error = through(new JugglerError(422, 'why', 'failed', { data: { a: 1 } }));
    expect(error).toBeInstanceOf(Error);
    expect(error).toBeInstanceOf(JugglerError);
    expect(error).toMatchObject({ name: 'JugglerError', code: 422, message: 'why', data: { a: 1 } });
    expect(String(error)).toBe('JugglerError: why');
  });
});

describe('a client', () => {
  it('has methods that may be taken off it', async () => {
    const { call, connect, subscribe, close } = new Client('ws://test/', script.options);
    connect();
    script.socket.hello();
    const { ready, unsubscribe } = subscribe('c', () => {});
    const result = call('a');
    script.socket.ack('SUB').say({ type: 'RES', for: '2', args: 1 });
    await ready;
    unsubscribe();
    expect(await result).toBe(1);
    await close();
  });

  it('shows nothing to what walks over objects, as deep watchers do', () => {
    expect(Object.keys(new Client('ws://test/'))).toEqual([]);
  });

  it('can be subclassed: what is overridden is used', async () => {
    class Counting extends Client {
      calls = 0;
      override call(...args: Parameters<Client['call']>): Promise<any> {
        this.calls++;
        return super.call(...args);
      }
    }
    const client = deep(new Counting('ws://test/', script.options));
    expect(client).toBeInstanceOf(Client);
    const result = client.call('a');
    script.socket.hello().say({ type: 'RES', for: '1', args: 1 });
    expect(await result).toBe(1);
    expect(client.calls).toBe(1);
    await client.close();
  });

  it('can be spied on', async () => {
    const client = new Client('ws://test/', script.options);
    vi.spyOn(client, 'call').mockResolvedValue('mocked');
    expect(await client.call('a')).toBe('mocked');
  });
});

describe('an error', () => {
  const error = new JugglerError(422, 'not a number', 'failed', {
    data: { field: 'a' },
    cause: Object.assign(new Error('why'), { send: () => {} }),
  });
  const told = { name: 'JugglerError', code: 422, message: 'not a number', outcome: 'failed', data: { field: 'a' }, retryable: false };

  it.each([
    ['structuredClone', (value: unknown) => structuredClone(value)],
    ['JSON', (value: unknown) => JSON.parse(JSON.stringify(value)) as unknown],
    ['a spread', (value: unknown) => ({ ...(value as object) })],
    [
      'postMessage',
      (value: unknown) =>
        new Promise<unknown>((resolve) => {
          const { port1, port2 } = new MessageChannel();
          port2.onmessage = ({ data }) => {
            port1.close();
            resolve(data);
          };
          port1.postMessage(value);
        }),
    ],
  ])('keeps what it says in %s', async (_, copy) => {
    const copied = await copy(error);
    expect(copied).toMatchObject(told);
    expect(JugglerError.is(copied)).toBe(true);
  });

  it('is one to another copy of the package', async () => {
    vi.resetModules();
    const other = await import('../../src/index.js');
    expect(other.JugglerError).not.toBe(JugglerError);
    const theirs = new other.JugglerError(503, 'why', 'refused');
    expect(JugglerError.is(theirs)).toBe(true);
    expect(theirs).toBeInstanceOf(JugglerError);
  });

  it('is told from what is none', () => {
    class Special extends JugglerError {}
    expect(error).not.toBeInstanceOf(Special);
    expect(new Special(1, '', 'failed')).toBeInstanceOf(Special);
    for (const value of [undefined, null, 'JugglerError', {}, new Error('x'), { name: 'JugglerError' }, { code: 1 }]) {
      expect(JugglerError.is(value)).toBe(false);
      expect(value).not.toBeInstanceOf(JugglerError);
    }
  });

  it('has a stack that begins where it was made, and a cause', () => {
    expect(error.stack).toMatch(/^JugglerError: not a number\n.*proxy\.test\.ts/);
    expect(error.cause).toMatchObject({ message: 'why' });
    expect(Object.prototype.toString.call(error)).toBe('[object Error]');
  });
});
