// A server that breaks the protocol: the client reports it, recovers, and
// never leaves a promise pending.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, type JugglerError } from '../../src/index.js';
import { Script, type Message } from '../support/script.js';

let script: Script;
let client: Client;
let errors: JugglerError[];

const pass = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(0.999999);
  script = new Script();
  client = new Client('ws://test/ws', { ...script.options, timeout: 10_000 });
  errors = [];
  client.on('error', (error) => errors.push(error));
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Starts one of each request and returns the outcomes, which time must bring. */
function requests(): Promise<PromiseSettledResult<unknown>[]> {
  return Promise.allSettled([
    client.call('a'),
    client.call('b', null, { idempotent: true }),
    client.publish('c', 1),
    client.subscribe('d').ready,
    client.subscribe('e').next(),
  ]);
}

describe('what is no message at all', () => {
  const frames: [string, unknown][] = [
    ['nothing', ''],
    ['text', 'hello'],
    ['a cut message', '{"type":"RES","for":"1"'],
    ['two messages', '{"type":"PING"}{"type":"PING"}'],
    ['null', 'null'],
    ['a number', '1'],
    ['a string', '"PING"'],
    ['binary', new ArrayBuffer(8)],
    ['a blob', new Blob(['{"type":"PING"}'])],
  ];
  it.each(frames)('%s: is reported; the connection is given up and opened anew', async (_, data) => {
    client.connect();
    const bad = script.socket.hello();
    const lost = client.call('a').catch((error: unknown) => error);
    const repeated = client.call('b', null, { idempotent: true });
    bad.onmessage?.({ data });
    expect(errors).toMatchObject([{ code: 1002, message: 'the server sent nonsense', data }]);
    expect(bad.closedWith?.code).toBe(4000);
    expect(await lost).toMatchObject({ code: 1002, outcome: 'unknown' });
    await pass(500);
    script.socket.hello().ack('CALL').say({ type: 'RES', for: '1', args: 'ok' });
    expect(await repeated).toBe('ok');
    expect(client.state.status).toBe('open');
  });
});

describe('what makes no sense', () => {
  const messages: [string, Message | string][] = [
    ['an array of arrays', '[[]]'],
    ['no type', {}],
    ['a type that is no string', { type: 7 }],
    ['a second HELLO', { type: 'HELLO', session: 's2' }],
    ['RES for nothing', { type: 'RES', for: '99', args: 1 }],
    ['RES without for', { type: 'RES', args: 1 }],
    ['RES for an object', { type: 'RES', for: { toString: 1 }, args: 1 }],
    ['RES for a number', { type: 'RES', for: 1, args: 1 }],
    ['RES for a SUB', { type: 'RES', for: '2', args: 1 }],
    ['ACK for nothing', { type: 'ACK', for: '99' }],
    ['ACK twice', { type: 'ACK', for: '1' }],
    ['NACK for nothing', { type: 'NACK', for: '99', error: { code: 500, message: '' } }],
    ['an event without a channel', { type: 'EVNT', args: 1 }],
    ['an event of an odd channel', { type: 'EVNT', channel: ['d'], args: 1 }],
    ['GAP without a channel', { type: 'GAP' }],
  ];
  it.each(messages)('%s: is reported and does no harm', async (_, message) => {
    client.connect();
    script.socket.hello();
    const call = client.call('a');
    const sub = client.subscribe('d');
    script.socket.say({ type: 'ACK', for: '1' });
    script.socket.say(message);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatchObject({ code: 1002 });
    expect(script.logged).toContainEqual(['warn', errors[0]!.message]);
    script.socket.say({ type: 'ACK', for: '2' }).say({ type: 'RES', for: '1', args: 'ok' });
    expect(await call).toBe('ok');
    await sub.ready;
    expect(script.sockets).toHaveLength(1);
  });

  it.each(['WHAT', 'CALL', '__proto__'])('the type %s, as of a newer server, is ignored', async (type) => {
    client.connect();
    script.socket.hello();
    const call = client.call('a');
    script.socket.say({ type: 'ACK', for: '1' }).say({ type, for: '1', id: '1' }).say({ type: 'RES', for: '1', args: 'ok' });
    expect(await call).toBe('ok');
    expect(errors).toEqual([]);
    expect(script.logged).toContainEqual(['debug', 'unknown message']);
  });

  it('RES twice: the second is reported, the first counts', async () => {
    client.connect();
    script.socket.hello();
    const call = client.call('a');
    script.socket.ack('CALL').say({ type: 'RES', for: '1', args: 'first' }).say({ type: 'RES', for: '1', args: 'second' });
    expect(await call).toBe('first');
    expect(errors).toMatchObject([{ data: { type: 'RES', args: 'second' } }]);
  });

  it('RES without ACK counts', async () => {
    client.connect();
    script.socket.hello();
    const call = client.call('a');
    script.socket.say({ type: 'RES', for: '1', args: 'ok' });
    expect(await call).toBe('ok');
  });

  it('NACK after ACK counts', async () => {
    client.connect();
    script.socket.hello();
    const call = client.call('a');
    script.socket.ack('CALL').say({ type: 'NACK', for: '1', error: { code: 500, message: 'changed my mind' } });
    await expect(call).rejects.toMatchObject({ code: 500 });
  });

  it.each([undefined, null, 'text', 7, {}, { code: '403' }, { code: 403, message: {}, retry_after: 'soon' }])(
    'NACK with the error %j rejects all the same',
    async (error) => {
      client.connect();
      script.socket.hello();
      const call = client.call('a');
      script.socket.say({ type: 'NACK', for: '1', error });
      await expect(call).rejects.toMatchObject({ name: 'JugglerError', message: 'no reason given', outcome: 'refused' });
    },
  );

  it.each([{ ping: 'often', limits: null }, { ping: -5, limits: { calls: 0, message: 'x' } }, { session: null, limits: [] }])(
    'HELLO with odd fields %j is taken with what makes sense',
    async (fields) => {
      client.connect();
      script.socket.hello(fields);
      expect(client.state.status).toBe('open');
      const call = client.call('a');
      script.socket.say({ type: 'RES', for: '1', args: 'ok' });
      expect(await call).toBe('ok');
    },
  );

  it('an event that nobody subscribed to is dropped', async () => {
    client.connect();
    script.socket.hello().say({ type: 'EVNT', id: '1', channel: 'surprise', args: 1 });
    expect(errors).toEqual([]);
    expect(client.state.status).toBe('open');
  });

  it('GOAWAY with an odd time moves at once', async () => {
    client.connect();
    script.socket.hello().say({ type: 'GOAWAY', after: 'later' });
    await pass();
    expect(script.sockets).toHaveLength(2);
  });
});

describe('silence', () => {
  it('before HELLO: all requests end', async () => {
    const outcomes = requests();
    await pass(10_000);
    await client.close();
    expect((await outcomes).map(({ status }) => status)).toEqual([
      'rejected', 'rejected', 'rejected', 'rejected', 'fulfilled', // The iteration ends with the client.
    ]);
  });

  it('after HELLO: all requests end in time, and the client connects anew', async () => {
    client.connect();
    script.socket.hello();
    const outcomes = requests();
    await pass(10_000);
    await client.close();
    expect((await outcomes).map((outcome) => (outcome.status === 'rejected' ? outcome.reason.code : 'ended'))).toEqual([
      408, 408, 408, expect.any(Number), 'ended',
    ]);
  });

  it('of a server that only pings: a SUB without answer gives the connection up', async () => {
    client.connect();
    const bad = script.socket.hello({ ping: 1_000 });
    const handler = vi.fn();
    client.subscribe('d', handler);
    for (let i = 0; i < 10; i++) {
      bad.say({ type: 'PING' });
      await pass(1_000);
    }
    expect(errors).toMatchObject([{ message: 'd: no answer' }]);
    await pass(500);
    script.socket.hello().ack('SUB').say({ type: 'EVNT', id: '1', channel: 'd', args: 1 });
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('after a call was acknowledged: it ends in time, and is cancelled', async () => {
    client.connect();
    script.socket.hello({ ping: 60_000 });
    const call = client.call('a').catch((error: unknown) => error);
    script.socket.ack('CALL');
    await pass(10_000);
    expect(await call).toMatchObject({ code: 408, outcome: 'unknown' });
    expect(script.socket.last('CANCEL')['for']).toBe('1');
  });
});

describe('closing in bad moments', () => {
  it.each(['before the handshake', 'before HELLO', 'after HELLO', 'after ACK'])('%s', async (moment) => {
    const outcomes = requests();
    const { socket } = script;
    if (moment !== 'before the handshake') socket.readyState = 1;
    if (moment.startsWith('after')) socket.hello();
    if (moment === 'after ACK') socket.ack('CALL').ack('SUB');
    socket.drop();
    await client.close();
    expect((await outcomes).every(({ status, ...outcome }) => status === 'rejected' || 'value' in outcome)).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('a server that closes after each HELLO is not hammered', async () => {
    client.connect();
    for (let t = 0; t < 60_000; t += 100) {
      if (script.socket.readyState === 0) script.socket.hello().drop(1011);
      await pass(100);
    }
    expect(script.sockets.length).toBeLessThan(12);
  });
});
