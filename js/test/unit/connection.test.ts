import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, JugglerError, type ClientOptions, type State } from '../../src/index.js';
import { Script } from '../support/script.js';

let script: Script;
let states: string[];

function make(options: ClientOptions = {}): Client {
  const client = new Client('ws://test/ws', { ...script.options, ...options });
  client.on('state', ({ status }) => states.push(status));
  return client;
}

/** Lets promises settle and timers of up to `ms` fire. */
const pass = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(0.999999);
  script = new Script();
  states = [];
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

describe('connecting', () => {
  it('does nothing until it is used', async () => {
    const client = make();
    await pass(60_000);
    expect(script.sockets).toHaveLength(0);
    expect(client.state).toEqual({ status: 'closed' });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('offers juggler.1 and is open at HELLO', async () => {
    const client = make();
    client.connect();
    expect(client.state.status).toBe('connecting');
    expect(script.socket.url).toBe('ws://test/ws');
    expect(script.socket.protocols).toEqual(['juggler.1.batch', 'juggler.1']);
    script.socket.hello({ session: '01S', node: '01N' });
    expect(client.state).toEqual({ status: 'open', session: '01S', node: '01N' });
    expect(states).toEqual(['connecting', 'open']);
  });

  it('keeps one connection however often it is asked', () => {
    const client = make();
    client.connect();
    client.connect();
    script.socket.hello();
    client.connect();
    expect(script.sockets).toHaveLength(1);
  });

  it('keeps the state object until it changes', () => {
    const client = make();
    expect(client.state).toBe(client.state);
    client.connect();
    const connecting = client.state;
    script.socket.hello();
    expect(client.state).not.toBe(connecting);
    expect(client.state).toBe(client.state);
  });

  it('asks a URL function before each connection', async () => {
    let ticket = 0;
    const client = new Client(async () => `ws://test/?ticket=${++ticket}`, script.options);
    client.connect();
    await pass();
    expect(script.socket.url).toBe('ws://test/?ticket=1');
    script.socket.drop();
    await pass(500);
    expect(script.socket.url).toBe('ws://test/?ticket=2');
  });

  it.each([
    ['throws', () => { throw new Error('offline'); }],
    ['rejects', () => Promise.reject(new Error('offline'))],
    ['gives none', () => undefined],
  ])('tells of a URL function that %s, and tries again', async (_, first) => {
    const url = vi.fn().mockImplementationOnce(first).mockResolvedValue('ws://test/');
    const client = new Client(url, script.options);
    const errors = vi.fn();
    client.on('error', errors);
    client.connect();
    await pass();
    expect(client.state).toMatchObject({ status: 'waiting', error: { cause: expect.any(Error) } });
    expect(errors).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ message: expect.stringMatching('^cannot get the URL: .*Error: ') }));
    await pass(500);
    expect(script.sockets).toHaveLength(1);
  });

  it('tries again when the server says nothing', async () => {
    const client = make({ connectTimeout: 3_000 });
    client.connect();
    await pass(2_999);
    expect(client.state.status).toBe('connecting');
    await pass(1);
    expect(client.state.status).toBe('waiting');
    expect(script.socket.closedWith?.code).toBe(4000);
    await pass(500);
    expect(script.sockets).toHaveLength(2);
  });

  it('tells why it cannot, where the WebSocket says so', async () => {
    const client = make({ timeout: 1_000, backoff: { min: 10_000 } });
    const call = client.call('x').catch((error: unknown) => error);
    const refused = new Error('connect ECONNREFUSED 127.0.0.1:8080');
    // Some say nothing after it.
    script.socket.onerror?.({ type: 'error', message: refused.message, error: refused });
    expect(client.state).toMatchObject({ status: 'waiting', error: { code: 1006, cause: refused } });
    await pass(1_000);
    expect(await call).toMatchObject({ code: 408, cause: { code: 1006, cause: refused } });
  });

  it('has no cause where the WebSocket gives none, as in a browser', () => {
    const client = make();
    client.connect();
    script.socket.onerror?.({ type: 'error', message: '' });
    expect((client.state as { error: JugglerError }).error).not.toHaveProperty('cause');
  });

  it('gives up where there is no WebSocket, and says what to do', async () => {
    vi.stubGlobal('WebSocket', undefined);
    const client = new Client('ws://test/', { logger: () => {} });
    await expect(client.call('x')).rejects.toThrow('no WebSocket: pass one in the options');
    expect(client.state).toMatchObject({ status: 'closed', error: { code: 400 } });
  });

  it('gives up at a URL that no WebSocket takes', async () => {
    const client = make({
      WebSocket: class {
        constructor() {
          throw new SyntaxError('bad URL');
        }
      } as never,
    });
    client.connect();
    expect(client.state).toMatchObject({ status: 'closed', error: { cause: new SyntaxError('bad URL') } });
  });

  it('tries again where the WebSocket cannot be made for now', () => {
    const busy = new Error('not within a request');
    const client = make({
      WebSocket: class {
        constructor() {
          throw busy;
        }
      } as never,
    });
    client.connect();
    expect(client.state).toMatchObject({ status: 'waiting', error: { code: 1006, cause: busy } });
  });

  it('leaves a socket that hangs in its closing handshake', async () => {
    const client = make();
    client.connect();
    script.socket.hello().readyState = 2;
    const call = client.call('x');
    await pass(6_000);
    script.socket.hello().say({ type: 'RES', for: script.socket.last('CALL')['id'], args: 1 });
    expect(await call).toBe(1);
    script.socket.readyState = 2;
    await pass(76_000); // And if nothing is asked of it.
    expect(script.sockets).toHaveLength(3);
  });

  it('leaves a socket that throws at whatever is done with it', async () => {
    const client = make();
    client.connect();
    const fail = (): never => {
      throw new Error('out of reach');
    };
    script.socket.hello();
    for (const key of ['readyState', 'onmessage', 'onclose']) Object.defineProperty(script.socket, key, { get: fail, set: fail });
    const call = client.call('x');
    await pass(500);
    script.socket.hello().say({ type: 'RES', for: script.socket.last('CALL')['id'], args: 1 });
    expect(await call).toBe(1);
  });

  it('makes a try that is overdue when something wants a connection', async () => {
    const client = make();
    client.connect();
    script.socket.drop();
    vi.clearAllTimers(); // As the end of a worker's request does.
    await pass(5_000);
    expect(client.state.status).toBe('waiting');
    void client.call('x').catch(() => {});
    expect(client.state.status).toBe('connecting');
  });
});

describe('reconnecting', () => {
  it('waits longer and longer, at random between 0 and the bound', async () => {
    const client = make({ backoff: { min: 100, max: 1_000 } });
    const pauses: number[] = [];
    client.on('state', (state: State) => {
      if (state.status === 'waiting') pauses.push(Math.round(state.retryAt - Date.now()));
    });
    client.connect();
    for (let i = 0; i < 6; i++) {
      script.socket.drop();
      await pass(1_000);
    }
    expect(pauses).toEqual([100, 200, 400, 800, 1_000, 1_000]);
    vi.mocked(Math.random).mockReturnValue(0.25);
    script.socket.drop();
    expect(pauses.at(-1)).toBe(250);
  });

  it('begins anew after a connection that lasted, not after one that did not', async () => {
    const client = make({ backoff: { min: 100, max: 10_000 } });
    client.connect();
    const dropAfter = async (ms: number): Promise<number> => {
      script.socket.hello();
      await pass(ms);
      script.socket.drop();
      const { state } = client;
      if (state.status !== 'waiting') throw new Error(`state is ${state.status}`);
      const pause = Math.round(state.retryAt - Date.now());
      await pass(pause);
      return pause;
    };
    expect(await dropAfter(10)).toBe(100);
    expect(await dropAfter(10)).toBe(200);
    expect(await dropAfter(10)).toBe(400);
    expect(await dropAfter(10_001)).toBe(100);
  });

  it('connect() does not wait', async () => {
    const client = make();
    client.connect();
    script.socket.drop();
    expect(client.state.status).toBe('waiting');
    client.connect();
    expect(script.sockets).toHaveLength(2);
    await pass(30_000);
    expect(script.sockets).toHaveLength(3); // The second timed out; the wait for it was over.
  });

  const again = [1000, 1001, 1005, 1006, 1011, 1012, 1013, 4500, 4501, 4502, 4600, 4899];
  const final = [4100, 4399, 4400, 4403];

  it.each(again)('connects again after close code %i', async (code) => {
    const client = make();
    client.connect();
    script.socket.hello().drop(code, 'the reason');
    expect(client.state).toMatchObject({ status: 'waiting', error: { code, message: 'the reason' } });
    await pass(500);
    expect(client.state.status).toBe('connecting');
    script.socket.hello();
    expect(states).toEqual(['connecting', 'open', 'waiting', 'connecting', 'open']);
  });

  it.each(final)('gives up after close code %i, and says why', async (code) => {
    const client = make();
    const refused = vi.fn();
    client.on('refused', refused);
    client.connect();
    script.socket.hello().drop(code, 'the reason');
    expect(client.state).toMatchObject({ status: 'closed', error: { code, message: 'the reason' } });
    expect(refused).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code, message: 'the reason' }));
    await expect(client.call('x')).rejects.toMatchObject({ code, outcome: 'refused' });
    await pass(120_000);
    expect(script.sockets).toHaveLength(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  it.each([1002, 1003, 1007, 1009, 1010])('comes back after a mistake of its own (%i), tells of it, and makes no storm', async (code) => {
    const client = make();
    const errors = vi.fn();
    client.on('error', errors);
    client.connect();
    for (let t = 0; t < 60_000; t += 100) {
      if (script.socket.readyState === 0) script.socket.hello().drop(code, 'the reason');
      await pass(100);
    }
    expect(script.sockets.length).toBeLessThan(12);
    expect(errors).toHaveBeenCalledTimes(script.sockets.filter(({ readyState }) => readyState === 3).length);
    expect(errors).toHaveBeenCalledWith(expect.objectContaining({ code, message: 'the reason' }));
    while (script.socket.readyState !== 0) await pass(1_000);
    script.socket.hello();
    expect(client.state.status).toBe('open');
  });

  it.each([
    ['refused', (client: Client) => client.on('refused', () => client.connect()), 4403, 12],
    ['waiting', (client: Client) => client.on('state', ({ status }) => status === 'waiting' && client.connect()), 1006, 65],
  ] as const)('makes no storm where a listener connects whenever it is %s', async (_, listen, code, most) => {
    const client = make();
    listen(client);
    client.connect();
    for (let t = 0; t < 60_000; t += 10) {
      if (script.socket.readyState === 0) script.socket.hello().drop(code);
      await pass(10);
    }
    expect(script.sockets.length).toBeGreaterThan(5);
    expect(script.sockets.length).toBeLessThan(most);
  });

  it('tries at once when told to, a second after the last try that failed', async () => {
    const client = make({ backoff: { min: 60_000, max: 60_000 } });
    client.connect();
    script.socket.drop();
    client.connect();
    expect(script.sockets).toHaveLength(2);
    script.socket.drop();
    client.connect();
    client.connect();
    expect(script.sockets).toHaveLength(2);
    expect((client.state as { retryAt: number }).retryAt).toBe(Date.now() + 1_000);
    await pass(1_000);
    expect(script.sockets).toHaveLength(3);
    script.socket.drop();
    await pass(1_000);
    client.connect();
    expect(script.sockets).toHaveLength(4);
  });

  it('connects again after a refusal when told to', () => {
    const client = make();
    client.connect();
    script.socket.hello().drop(4403);
    client.connect();
    script.socket.hello();
    expect(client.state.status).toBe('open');
  });
});

describe('liveness', () => {
  it('answers PING', () => {
    make().connect();
    script.socket.hello().say({ type: 'PING' });
    expect(script.socket.received).toEqual([{ type: 'PONG' }]);
  });

  it('stays while the server says something now and then', async () => {
    const client = make();
    client.connect();
    script.socket.hello({ ping: 1_000 });
    for (let i = 0; i < 100; i++) {
      await pass(1_000);
      script.socket.say({ type: 'PING' });
    }
    expect(client.state.status).toBe('open');
    expect(script.socket.all('PING')).toHaveLength(0);
  });

  it('asks a silent server once, then leaves it', async () => {
    const client = make();
    client.connect();
    script.socket.hello({ ping: 1_000 });
    await pass(1_500);
    expect(script.socket.all('PING')).toHaveLength(1);
    await pass(4_999);
    expect(client.state.status).toBe('open');
    await pass(1);
    expect(client.state).toMatchObject({ status: 'waiting', error: { code: 1006, message: 'no answer in time' } });
    expect(script.socket.closedWith?.code).toBe(4000);
  });

  it('leaves a silent server however often it is told to check', async () => {
    const client = make();
    client.connect();
    script.socket.hello();
    for (let i = 0; i < 5; i++) {
      client.connect();
      await pass(1_000);
    }
    expect(client.state.status).toBe('waiting');
    expect(script.socket.all('PING')).toHaveLength(1);
  });

  it('asks anew when the server was heard since it was asked', async () => {
    const client = make();
    client.connect();
    script.socket.hello();
    client.connect();
    await pass(1_000);
    script.socket.say({ type: 'PING' });
    client.connect();
    expect(script.socket.all('PING')).toHaveLength(2);
    await pass(5_000);
    expect(client.state.status).toBe('waiting');
  });

  it('stays with a server that answers when asked', async () => {
    const client = make();
    client.connect();
    script.socket.hello({ ping: 1_000 });
    await pass(1_500);
    script.socket.say({ type: 'NACK', for: script.socket.last('PING')['id'], error: { code: 400, message: 'unknown type' } });
    await pass(6_000);
    expect(client.state.status).toBe('open');
    expect(script.logged.filter(([level]) => level === 'warn')).toEqual([]);
  });
});

describe('the environment', () => {
  class Page extends EventTarget {
    visibilityState = 'visible';
  }
  let page: Page;
  let network: EventTarget & { onLine: boolean };

  beforeEach(() => {
    page = new Page();
    network = Object.assign(new EventTarget(), { onLine: true });
    vi.stubGlobal('document', page);
    // As events of a document do, its event bubbles to the window.
    page.addEventListener('visibilitychange', () => network.dispatchEvent(new Event('visibilitychange')));
    vi.stubGlobal('navigator', network);
    vi.stubGlobal('addEventListener', network.addEventListener.bind(network));
    vi.stubGlobal('removeEventListener', network.removeEventListener.bind(network));
  });

  it('tries at once when the network is back', async () => {
    const client = make({ backoff: { min: 60_000, max: 60_000 } });
    client.connect();
    network.onLine = false;
    script.socket.drop();
    network.dispatchEvent(new Event('offline'));
    expect(script.sockets).toHaveLength(1);
    network.onLine = true;
    network.dispatchEvent(new Event('online'));
    expect(script.sockets).toHaveLength(2);
  });

  it.each(['online', 'offline'])('checks an open connection at %s', async (type) => {
    const client = make();
    client.connect();
    script.socket.hello();
    network.dispatchEvent(new Event(type));
    expect(script.socket.all('PING')).toHaveLength(1);
    await pass(5_000);
    expect(client.state.status).toBe('waiting');
  });

  it('checks, or tries at once, when the page is shown, and does nothing when it is hidden', async () => {
    const client = make({ backoff: { min: 60_000, max: 60_000 } });
    client.connect();
    script.socket.hello();
    const show = (visibilityState: string): void => {
      page.visibilityState = visibilityState;
      page.dispatchEvent(new Event('visibilitychange'));
    };
    show('hidden');
    expect(script.socket.all('PING')).toHaveLength(0);
    show('visible');
    expect(script.socket.all('PING')).toHaveLength(1);
    script.socket.drop();
    show('hidden');
    expect(script.sockets).toHaveLength(1);
    show('visible');
    expect(script.sockets).toHaveLength(2);
  });

  it('listens only while it has something to do', async () => {
    const added = vi.fn(network.addEventListener.bind(network));
    const removed = vi.fn(network.removeEventListener.bind(network));
    vi.stubGlobal('addEventListener', added);
    vi.stubGlobal('removeEventListener', removed);
    const client = make();
    expect(added).not.toHaveBeenCalled();
    client.connect();
    expect(added.mock.calls.map(([type]) => type)).toEqual(['online', 'offline', 'visibilitychange']);
    void client.close();
    expect(removed.mock.calls).toEqual(added.mock.calls);
    page.dispatchEvent(new Event('visibilitychange'));
    expect(script.sockets).toHaveLength(1);
  });
});

describe('signing in', () => {
  it('sends AUTH first, and is open at its ACK', async () => {
    const client = make({ auth: async () => 'secret' });
    void client.call('x').catch(() => {});
    script.socket.hello();
    await pass();
    expect(script.socket.received).toEqual([{ type: 'AUTH', id: '1', token: 'secret' }]);
    expect(client.state.status).toBe('connecting');
    script.socket.ack('AUTH');
    expect(client.state.status).toBe('open');
    expect(script.socket.received[1]).toMatchObject({ type: 'CALL', uri: 'x' });
  });

  it('asks for a new token at each connection', async () => {
    let n = 0;
    const client = make({ auth: () => `token ${++n}` });
    client.connect();
    script.socket.hello();
    await pass();
    script.socket.ack('AUTH').drop(4502);
    await pass(500);
    script.socket.hello();
    await pass();
    expect(script.socket.last('AUTH')['token']).toBe('token 2');
    expect(client.state.status).toBe('connecting');
  });

  it('does not sign in a guest', async () => {
    const client = make({ auth: () => null });
    client.connect();
    script.socket.hello();
    await pass();
    expect(client.state.status).toBe('open');
    expect(script.socket.received).toEqual([]);
  });

  it('renews before the credentials expire', async () => {
    let n = 0;
    const client = make({ auth: () => `token ${++n}` });
    client.connect();
    script.socket.hello();
    await pass();
    script.socket.say({ type: 'ACK', for: '1', expires: 10_000 });
    await pass(7_499);
    expect(script.socket.all('AUTH')).toHaveLength(1);
    await pass(1);
    expect(script.socket.last('AUTH')['token']).toBe('token 2');
    script.socket.say({ type: 'ACK', for: '2', expires: 3_600_000 });
    await pass(24_000);
    script.socket.say({ type: 'PING' });
    for (let i = 0; i < 149; i++) {
      await pass(24_000);
      script.socket.say({ type: 'PING' });
    }
    expect(script.socket.last('AUTH')['token']).toBe('token 3');
    expect(states).toEqual(['connecting', 'open']);
  });

  it('takes an expiry that no timer can hold', async () => {
    const auth = vi.fn(() => 'token');
    make({ auth }).connect();
    script.socket.hello();
    await pass();
    script.socket.say({ type: 'ACK', for: '1', expires: 1e12 });
    await pass(1_000);
    expect(auth).toHaveBeenCalledTimes(1);
  });

  it('tries to renew again when that fails', async () => {
    const auth = vi.fn().mockReturnValueOnce('a').mockRejectedValueOnce(new Error('offline')).mockReturnValue('c');
    const client = make({ auth });
    const errors: JugglerError[] = [];
    client.on('error', (error) => errors.push(error));
    client.connect();
    script.socket.hello();
    await pass();
    script.socket.say({ type: 'ACK', for: '1', expires: 10_000 });
    await pass(7_500);
    expect(errors).toMatchObject([{ message: 'could not get a token', cause: new Error('offline') }]);
    await pass(5_000);
    expect(script.socket.last('AUTH')['token']).toBe('c');
    expect(client.state.status).toBe('open');
  });

  it('tries again when the token cannot be had', async () => {
    const auth = vi.fn().mockRejectedValueOnce(new Error('offline')).mockReturnValue('b');
    const client = make({ auth });
    client.connect();
    script.socket.hello();
    await pass();
    expect(client.state).toMatchObject({ status: 'waiting', error: { message: 'could not get a token' } });
    await pass(500);
    script.socket.hello();
    await pass();
    script.socket.ack('AUTH');
    expect(client.state.status).toBe('open');
  });

  it('gives up when the token is refused', async () => {
    const client = make({ auth: () => 'bad' });
    const refused = vi.fn();
    client.on('refused', refused);
    const call = client.call('x');
    call.catch(() => {});
    script.socket.hello();
    await pass();
    script.socket.say({ type: 'NACK', for: '1', error: { code: 401, message: 'who are you?' } });
    await expect(call).rejects.toMatchObject({ code: 401, outcome: 'refused' });
    expect(refused).toHaveBeenCalledWith(expect.objectContaining({ code: 401, message: 'who are you?' }));
    expect(client.state.status).toBe('closed');
  });

  it('does not hang on a token provider that does', async () => {
    const client = make({ auth: () => new Promise(() => {}) });
    client.connect();
    script.socket.hello();
    await pass(15_000);
    expect(client.state.status).toBe('waiting');
  });
});

/** A token provider whose answers come when the test says so, and which may be asked by one at a time. */
function provider() {
  const asked: { give(token: unknown): Promise<void>; fail(error: unknown): Promise<void> }[] = [];
  let running = 0;
  const auth = vi.fn(() => {
    if (++running > 1) throw new Error('refresh token used twice: the session is revoked');
    return new Promise<any>((resolve, reject) => {
      const end = async (settle: () => void): Promise<void> => {
        running--;
        settle();
        await pass();
      };
      asked.push({ give: (token) => end(() => resolve(token)), fail: (error) => end(() => reject(error)) });
    });
  });
  return { auth, asked };
}

describe('a token', () => {
  it('is asked for while the handshake runs', async () => {
    const { auth, asked } = provider();
    const client = make({ auth });
    client.connect();
    expect(auth).toHaveBeenCalledTimes(1);
    await asked[0]!.give('t');
    script.socket.hello();
    await pass();
    expect(script.socket.last('AUTH')['token']).toBe('t');
  });

  it('that comes too late for a connection is used by the next; nobody else is asked meanwhile', async () => {
    const { auth, asked } = provider();
    const client = make({ auth, connectTimeout: 1_000, backoff: { min: 100, max: 100 } });
    client.connect();
    for (let i = 0; i < 5; i++) {
      script.socket.hello();
      await pass(1_000);
      expect(client.state.status).toBe('waiting');
      if (i === 4) await asked[0]!.give('slow'); // While there is no connection.
      await pass(100);
    }
    expect(auth).toHaveBeenCalledTimes(1);
    script.socket.hello();
    await pass();
    script.socket.ack('AUTH');
    expect(script.socket.last('AUTH')['token']).toBe('slow');
    expect(client.state.status).toBe('open');
    expect(auth).toHaveBeenCalledTimes(1);
  });

  it.each(['has not come', 'was not looked at'])('that %s in time for the server is no refusal', async (when) => {
    const { auth, asked } = provider();
    const client = make({ auth });
    client.connect();
    script.socket.hello();
    if (when === 'was not looked at') await asked[0]!.give('t');
    script.socket.drop(4400, 'no AUTH in time');
    expect(client.state).toMatchObject({ status: 'waiting', error: { code: 4400 } });
    if (when === 'has not come') await asked[0]!.give('t');
    await pass(500);
    if (when === 'was not looked at') await asked[1]!.give('t');
    script.socket.hello();
    await pass();
    script.socket.ack('AUTH');
    expect(client.state.status).toBe('open');
  });

  it('is no matter where the server refuses before it could be asked for one', async () => {
    make({ auth: () => 't' }).connect();
    script.socket.readyState = 1;
    script.socket.drop(4400, 'no cookie');
    expect(states).toEqual(['connecting', 'closed']);
  });

  it('goes to one connection; a renewal that is cut off, or overtaken, uses no refresh token twice', async () => {
    const { auth, asked } = provider();
    const client = make({ auth, backoff: { min: 100, max: 100 } });
    client.connect();
    const first = script.socket.hello();
    await asked[0]!.give('1');
    first.say({ type: 'ACK', for: '1', expires: 10_000 });
    await pass(7_500); // The renewal begins, and the network fails.
    expect(auth).toHaveBeenCalledTimes(2);
    first.drop();
    await pass(100);
    const second = script.socket.hello();
    await asked[1]!.give('2');
    second.say({ type: 'ACK', for: '1', expires: 10_000 });
    await pass(7_500); // The renewal begins, and the server asks to move.
    second.say({ type: 'GOAWAY' });
    await pass();
    const third = script.socket.hello();
    await asked[2]!.give('3');
    await asked[3]!.give('4');
    expect([second, third].map((socket) => socket.last('AUTH')['token'])).toEqual(['3', '4']);
    third.ack('AUTH');
    expect(client.state.status).toBe('open');
    expect(auth).toHaveBeenCalledTimes(4);
    expect(script.logged.filter(([level]) => level === 'warn')).toEqual([]);
  });

  it('that waited for a connection and is refused there is followed by a new one', async () => {
    let n = 0;
    const client = make({ auth: () => `token ${++n}` });
    client.connect();
    await pass();
    script.socket.drop();
    await pass(500);
    script.socket.hello();
    await pass();
    expect(script.socket.last('AUTH')['token']).toBe('token 1');
    script.socket.say({ type: 'NACK', for: '1', error: { code: 401, message: 'expired' } });
    await pass();
    expect(script.socket.last('AUTH')['token']).toBe('token 2');
    script.socket.say({ type: 'NACK', for: '2', error: { code: 401, message: 'who are you?' } });
    expect(client.state).toMatchObject({ status: 'closed', error: { code: 401 } });
  });

  it('that never comes is given up after a minute', async () => {
    const { auth } = provider();
    auth.mockReturnValueOnce(new Promise(() => {})).mockReturnValueOnce('second' as never);
    const client = make({ auth, connectTimeout: 1_000, backoff: { min: 100, max: 100 } });
    client.connect();
    for (let t = 0; t < 62_000 && client.state.status !== 'open'; t += 100) {
      if (script.socket.readyState === 0) script.socket.hello();
      await pass(100);
      if (script.socket.all('AUTH').length) script.socket.ack('AUTH');
    }
    expect(client.state.status).toBe('open');
    expect(auth).toHaveBeenCalledTimes(2);
  });

  it.each([42, { accessToken: 'x' }, Symbol('x'), '', () => 'x'])('that is none (%s) is told, and asked for again', async (odd) => {
    const auth = vi.fn().mockReturnValueOnce(odd).mockReturnValue('t');
    const client = make({ auth });
    client.connect();
    script.socket.hello();
    await pass();
    expect(client.state).toMatchObject({
      status: 'waiting',
      error: { message: 'could not get a token', cause: { message: expect.stringContaining('what auth() gives: want a string') } },
    });
    await pass(500);
    script.socket.hello();
    await pass();
    script.socket.ack('AUTH');
    expect(client.state.status).toBe('open');
  });

  it('that cannot be renewed is asked for after pauses that grow', async () => {
    const auth = vi.fn().mockReturnValueOnce('first').mockRejectedValue(new Error('offline'));
    const client = make({ auth });
    client.connect();
    const times: number[] = [];
    script.socket.hello({ ping: 3_600_000 });
    await pass();
    script.socket.say({ type: 'ACK', for: '1', expires: 3_600_000 });
    await pass(3_570_000);
    auth.mockImplementation(() => {
      times.push(Date.now());
      return Promise.reject(new Error('offline'));
    });
    await pass(180_000);
    const pauses = times.slice(1).map((time, i) => Math.round((time - times[i]!) / 1_000));
    expect(pauses).toEqual([10, 20, 40, 60]);
    expect(client.state.status).toBe('open');
  });
});

describe('signed out', () => {
  const signedOut = () => {
    throw new JugglerError(401, 'signed out', 'refused');
  };

  it('is what auth() says with code 401 or 403: the client stops, and comes back on connect()', async () => {
    const auth = vi.fn().mockImplementationOnce(signedOut).mockReturnValue('t');
    const client = make({ auth });
    const refused = vi.fn();
    client.on('refused', refused);
    const call = client.call('x').catch((error: unknown) => error);
    const handler = vi.fn();
    client.subscribe('news', handler);
    script.socket.hello();
    await pass();
    expect(client.state).toMatchObject({ status: 'closed', error: { code: 401, message: 'signed out' } });
    expect(refused).toHaveBeenCalledTimes(1);
    expect(await call).toMatchObject({ code: 401, outcome: 'refused' });
    await pass(120_000);
    expect(auth).toHaveBeenCalledTimes(1);
    client.connect();
    script.socket.hello();
    await pass();
    script.socket.ack('AUTH').ack('SUB').say({ type: 'EVNT', id: '1', channel: 'news', args: 1 });
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('during a renewal ends the connection', async () => {
    const auth = vi.fn().mockReturnValueOnce('t').mockImplementationOnce(signedOut);
    const client = make({ auth });
    client.connect();
    script.socket.hello();
    await pass();
    script.socket.say({ type: 'ACK', for: '1', expires: 10_000 });
    await pass(7_500);
    expect(client.state).toMatchObject({ status: 'closed', error: { code: 401 } });
    expect(script.socket.closedWith).toBeDefined();
  });

  it('what was asked for before close() is not used after it, but waited for', async () => {
    const { auth, asked } = provider();
    const client = make({ auth });
    client.connect();
    await client.close();
    client.connect();
    script.socket.hello();
    await pass();
    expect(auth).toHaveBeenCalledTimes(1);
    await asked[0]!.give('of the old user');
    await asked[1]!.give('of the new user');
    expect(script.socket.last('AUTH')['token']).toBe('of the new user');
  });
});

describe('GOAWAY', () => {
  it('opens the new connection before it leaves the old', async () => {
    const client = make();
    client.connect();
    const old = script.socket.hello({ node: 'n1' });
    const slow = client.call('slow');
    old.ack('CALL').say({ type: 'GOAWAY', after: 1_500, message: 'deploying' });
    await pass(1_499);
    expect(script.sockets).toHaveLength(1);
    await pass(1);
    expect(script.sockets).toHaveLength(2);
    expect(client.state.status).toBe('open');
    const early = client.call('early');
    expect(old.last('CALL')['uri']).toBe('early');
    script.socket.hello({ node: 'n2' });
    expect(client.state).toMatchObject({ status: 'open', node: 'n2' });
    const late = client.call('late');
    expect(script.socket.last('CALL')['uri']).toBe('late');
    expect(old.closedWith).toBeUndefined();
    old.say({ type: 'RES', for: '1', args: 'slow result' }).say({ type: 'RES', for: '2', args: 'early result' });
    expect(old.closedWith?.code).toBe(1000);
    script.socket.say({ type: 'RES', for: '1', args: 'late result' });
    expect(await Promise.all([slow, early, late])).toEqual(['slow result', 'early result', 'late result']);
    expect(states).toEqual(['connecting', 'open', 'open']);
  });

  it('goes on with the old connection while the new one cannot be had', async () => {
    const client = make();
    client.connect();
    const old = script.socket.hello();
    old.say({ type: 'GOAWAY', after: 0 }).say({ type: 'GOAWAY', after: 0 });
    await pass();
    expect(script.sockets).toHaveLength(2);
    script.socket.drop();
    expect(client.state.status).toBe('open');
    await pass(500);
    expect(script.sockets).toHaveLength(3);
    old.drop(1001);
    expect(client.state.status).toBe('connecting');
    script.socket.hello();
    expect(client.state.status).toBe('open');
  });

  it('that comes during the sign-in is heeded after it', async () => {
    const client = make({ auth: () => 'token' });
    client.connect();
    const old = script.socket.hello({ node: 'n1' }).say({ type: 'GOAWAY', after: 1_000 });
    await pass();
    old.ack('AUTH');
    await pass(1_000);
    expect(script.sockets).toHaveLength(2);
    script.socket.hello({ node: 'n2' });
    await pass();
    script.socket.ack('AUTH');
    expect(client.state).toMatchObject({ status: 'open', node: 'n2' });
    expect(old.closedWith?.code).toBe(1000);
    expect(states).toEqual(['connecting', 'open', 'open']);
  });

  it('is forgotten when the old connection is lost first', async () => {
    const client = make();
    client.connect();
    script.socket.hello().say({ type: 'GOAWAY', after: 1_000 }).drop(1001);
    await pass(500);
    script.socket.hello();
    await pass(5_000);
    expect(script.sockets).toHaveLength(2);
    expect(client.state.status).toBe('open');
  });
});

describe('close', () => {
  it('closes the socket, rejects what waits and leaves nothing', async () => {
    const client = make();
    const inFlight = client.call('a');
    inFlight.catch(() => {});
    const socket = script.socket.hello();
    await client.close();
    expect(socket.closedWith?.code).toBe(1000);
    expect(client.state).toEqual({ status: 'closed' });
    await expect(inFlight).rejects.toMatchObject({ code: 1000, outcome: 'unknown' });
    await expect(client.call('b')).rejects.toMatchObject({ code: 1000, outcome: 'refused' });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('rejects what waits for a connection', async () => {
    const client = make();
    const waiting = client.call('a');
    waiting.catch(() => {});
    void client.close();
    await expect(waiting).rejects.toMatchObject({ code: 1000, outcome: 'refused' });
  });

  it('does not wait for ever for a socket that does not close', async () => {
    const client = make();
    client.connect();
    const socket = script.socket.hello();
    socket.close = () => {};
    const closed = vi.fn();
    void client.close().then(closed);
    await pass(999);
    expect(closed).not.toHaveBeenCalled();
    await pass(1);
    expect(closed).toHaveBeenCalled();
  });

  it('while waiting for the next try is the end of trying', async () => {
    const client = make();
    client.connect();
    script.socket.drop();
    await client.close();
    await pass(60_000);
    expect(states).toEqual(['connecting', 'waiting', 'closed']);
    expect(script.sockets).toHaveLength(1);
  });

  it('while connecting abandons the connection', async () => {
    const client = make({ auth: () => 'token' });
    client.connect();
    script.socket.hello();
    await client.close(); // The token comes after that.
    await pass(60_000);
    expect(states).toEqual(['connecting', 'closed']);
    expect(script.socket.received).toEqual([]);
  });

  it('of an unused client is done at once', async () => {
    await make().close();
    expect(script.sockets).toHaveLength(0);
  });

  it('is what `await using` does', async () => {
    let socket;
    {
      await using client = make();
      client.connect();
      socket = script.socket.hello();
    }
    expect(socket.closedWith?.code).toBe(1000);
  });

  it('can be undone by connect()', async () => {
    const client = make();
    const handler = vi.fn();
    client.subscribe('news', handler);
    script.socket.hello().ack('SUB');
    await client.close();
    client.connect();
    script.socket.hello().ack('SUB').say({ type: 'EVNT', id: '1', channel: 'news', args: 1 });
    expect(handler).toHaveBeenCalledTimes(1);
  });
});

describe('listeners', () => {
  it.each(['connecting', 'open', 'waiting'])('may close the client when it is %s', async (status) => {
    const client = make();
    client.on('state', (state) => {
      if (state.status === status) void client.close();
    });
    const call = client.call('x').catch((error: unknown) => error);
    if (status !== 'connecting') script.socket.hello();
    if (status === 'waiting') script.socket.drop();
    expect(client.state).toEqual({ status: 'closed' });
    expect(await call).toBeInstanceOf(JugglerError);
    await pass(60_000);
    expect(script.sockets.length).toBe(status === 'connecting' ? 0 : 1);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('may close the client when it has moved', async () => {
    const client = make();
    client.connect();
    const old = script.socket.hello({ node: 'n1' }).say({ type: 'GOAWAY' });
    client.on('state', (state) => {
      if (state.status === 'open' && state.node === 'n2') void client.close();
    });
    await pass();
    const next = script.socket.hello({ node: 'n2' });
    expect(client.state).toEqual({ status: 'closed' });
    expect([old.closedWith?.code, next.closedWith?.code]).toEqual([1000, 1000]);
  });

  it('one that throws is logged and harms no other', () => {
    const client = make();
    client.on('state', () => {
      throw new Error('oops');
    });
    const other = vi.fn();
    client.on('state', other);
    client.connect();
    expect(other).toHaveBeenCalledTimes(1);
    expect(script.logged).toContainEqual(['error', 'a listener to state threw']);
  });

  it.each(['state', 'error'] as const)('a promise of one to %s that rejects is logged, and no unhandled rejection', async (type) => {
    const client = make();
    const errors = vi.fn();
    client.on('error', errors);
    client.on(type, () => Promise.reject(new Error('oops')));
    client.connect();
    script.socket.hello().drop(1002);
    await pass();
    expect(script.logged).toContainEqual(['error', `a listener to ${type} threw`]);
    if (type === 'state') expect(errors).toHaveBeenCalledWith(expect.objectContaining({ cause: new Error('oops') }));
  });

  it.each([
    ['throws', () => { throw new Error('oops'); }],
    ['rejects', () => Promise.reject(new Error('oops'))],
  ])('a logger that %s is told once, and the console hears in its place', async (_, logger) => {
    const [warn, error] = [vi.spyOn(console, 'warn').mockReturnValue(), vi.spyOn(console, 'error').mockReturnValue()];
    const client = make({ logger });
    const errors = vi.fn(() => {
      throw new Error('a listener, too');
    });
    client.on('error', errors);
    client.connect();
    script.socket.hello().drop(1002, 'why');
    await pass(500);
    script.socket.hello();
    expect(client.state.status).toBe('open');
    expect(errors).toHaveBeenCalledWith(expect.objectContaining({ message: 'the logger threw: Error: oops' }));
    expect(errors).toHaveBeenCalledTimes(2);
    expect(warn).toHaveBeenCalledWith('juggler: why', '');
    expect(error).toHaveBeenCalledWith('juggler: a listener to error threw', new Error('a listener, too'));
  });

  it('hear nothing once they are off', () => {
    const client = make();
    const listener = vi.fn();
    client.on('state', listener)();
    client.connect();
    expect(listener).not.toHaveBeenCalled();
  });

  it('the console hears warnings and errors, and nothing less', () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
    const client = new Client('ws://test/', { WebSocket: script.options.WebSocket! });
    client.connect();
    script.socket.hello().say({ type: 'NEW' }).say({ type: 7 }).drop(1006);
    expect(warn).toHaveBeenCalledExactlyOnceWith('juggler: the server sent nonsense', { type: 7 });
  });
});
