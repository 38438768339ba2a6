// What the server subscribes a client to, and takes away.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, CoreClient, JugglerError, onServer, withServer, withState, type Gap, type JugglerEvent } from '../../src/index.js';
import { Script, type Message, type ScriptedSocket } from '../support/script.js';

let play: Script;
let client: Client;
let got: unknown[];
let gaps: string[];
let errors: JugglerError[];

beforeEach(() => {
  vi.useFakeTimers();
  play = new Script();
  client = new Client('ws://test/', { ...play.options, backoff: { min: 10, max: 10 } });
  [got, gaps, errors] = [[], [], []];
  client.on('error', (error) => errors.push(error));
});
afterEach(async () => {
  await client.close();
  vi.useRealTimers();
});

const elapse = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);
const take = ({ args }: JugglerEvent): void => void got.push(args);
const onGap = ({ reason }: Gap): void => void gaps.push(reason);

/** An event with a number, which is its position, too, of a channel that is kept. */
const event = (at: number, more: Message = {}): Message => ({ type: 'EVNT', id: `e${at}`, channel: 'c', args: at, ...more });
const kept = (at: number): Message => event(at, { at, tag: `tag${at}` });
const subs = (more: Message = {}): Message => ({ type: 'SUBS', channel: 'c', ...more });
const unss = (code?: number, more: Message = {}): Message => ({
  type: 'UNSS',
  channel: 'c',
  error: code && { code, message: 'removed from the room' },
  ...more,
});

/** Another connection, after the present one is lost or has said GOAWAY. */
async function next(how: 'lost' | 'goaway'): Promise<[old: ScriptedSocket, now: ScriptedSocket]> {
  const old = play.socket;
  if (how === 'lost') old.drop();
  else old.say({ type: 'GOAWAY', after: 0 });
  await elapse(20);
  return [old, play.socket.hello({ session: 's2' })];
}

describe('a subscription that the server ends', () => {
  it.each([403, 410, 500, 101, 4999, undefined, 'x' as unknown as number])('with %s ends for good, behind the events before', async (code) => {
    const onError = vi.fn();
    client.subscribe('c', { onError }, take);
    const loop = client.subscribe('c');
    play.socket.hello().ack('SUB').say(event(1)).say(unss(code)).say(event(2));
    expect(onError).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ outcome: 'refused', retryable: false }));
    if (code === 403) expect(onError).toHaveBeenCalledWith(expect.objectContaining({ code, message: 'removed from the room' }));
    expect(got).toEqual([1]);
    expect(await loop.next()).toMatchObject({ value: { args: 1 } });
    await expect(loop.next()).rejects.toBeInstanceOf(JugglerError);
    await expect(loop.ready).rejects.toBeInstanceOf(JugglerError);
    await elapse(600_000);
    await next('lost');
    expect(play.sockets.flatMap((socket) => socket.all('SUB'))).toHaveLength(1);
    expect(play.sockets.flatMap((socket) => socket.all('UNSB'))).toHaveLength(0);
  });

  it.each([404, 429, 503])('with %s comes back after a pause, with a gap', async (code) => {
    const onError = vi.fn();
    const onReady = vi.fn();
    client.subscribe('c', { onGap, onError, onReady }, take);
    play.socket.hello().ack('SUB').say(event(1));
    play.socket.say({ ...unss(), error: { code, message: 'busy', retry_after: 3_000 } }).say(event(2));
    expect(errors).toMatchObject([{ code, retryable: true }]);
    await elapse(2_900);
    expect(play.socket.all('SUB')).toHaveLength(1);
    await elapse(200);
    expect(play.socket.all('SUB')).toHaveLength(2);
    play.socket.ack('SUB').say(event(3));
    expect(got).toEqual([1, 3]);
    expect(gaps).toEqual(['reconnect']);
    expect(onReady).toHaveBeenCalledTimes(2);
    expect(onError).not.toHaveBeenCalled();
  });

  it('and comes back gets what it missed, if that is kept', async () => {
    client.subscribe('c', { onGap }, take);
    const socket = play.socket.hello();
    socket.say({ type: 'ACK', for: socket.last('SUB')['id'], at: 1, tag: 'tag1' }).say(kept(2)).say(unss(503));
    await elapse(1_100);
    expect(socket.last('SUB')['since']).toEqual({ at: 2, tag: 'tag2' });
    socket.say({ type: 'ACK', for: socket.last('SUB')['id'], at: 3, tag: 'tag3', recovered: true }).say(kept(3));
    expect(got).toEqual([2, 3]);
    expect(gaps).toEqual([]);
  });

  it('is one of its channel, its pattern, or its channel of the server', () => {
    const handlers = [vi.fn(), vi.fn(), vi.fn()];
    client.subscribe('c', { onError: handlers[0]! }, take);
    client.subscribe('c', { pattern: true, onError: handlers[1]! }, take);
    client.subscribe('c', withServer({ own: true, onError: handlers[2]! }), take);
    const calls = (): number[] => handlers.map(({ mock }) => mock.calls.length);
    play.socket.hello().ack('SUB').say(subs({ own: true }));
    play.socket.say(unss(403, { pattern: true }));
    expect(calls()).toEqual([0, 1, 0]);
    play.socket.say(unss(403, { own: true }));
    expect(calls()).toEqual([0, 1, 1]);
    play.socket.say(unss(403));
    expect(calls()).toEqual([1, 1, 1]);
  });

  it('may be made again by the application, at once', async () => {
    let again: Promise<void> | undefined;
    client.subscribe('c', { onError: () => (again = client.subscribe('c', take).ready) }, take);
    const socket = play.socket.hello().ack('SUB').say(unss(403));
    expect(socket.all('SUB')).toHaveLength(2);
    socket.ack('SUB').say(event(1));
    await again;
    await elapse();
    expect(got).toEqual([1]);
    expect(socket.all('UNSB')).toEqual([]);
  });

  it('is not the one that was asked for meanwhile', async () => {
    client.subscribe('c', take).unsubscribe();
    const socket = play.socket.hello().ack('SUB');
    await elapse();
    const onError = vi.fn();
    client.subscribe('c', { onError }, take);
    socket.say(unss(403)).ack('SUB').say(event(1));
    expect(onError).not.toHaveBeenCalled();
    expect(got).toEqual([1]);
  });

  it('gives its place to another', async () => {
    client.subscribe('c', take);
    client.subscribe('d', take);
    const socket = play.socket.hello({ limits: { subscriptions: 1 } });
    expect(socket.all('SUB')).toHaveLength(1);
    socket.ack('SUB').say(unss(403));
    expect(socket.last('SUB')['channel']).toBe('d');
  });

  it.each([
    ['the old connection, before the new one is confirmed', 0, false],
    ['the old connection, while both bring events', 0, true],
    ['the new connection, while both bring events', 1, true],
  ])('while the client moves ends on %s', async (_, on, confirmed) => {
    const onError = vi.fn();
    client.subscribe('c', { onError, onGap }, take);
    play.socket.hello().ack('SUB');
    const pair = await next('goaway');
    if (confirmed) pair[1].ack('SUB');
    pair[on]!.say(unss(403));
    expect(onError).toHaveBeenCalledTimes(1);
    await elapse(1_000);
    for (const socket of pair) socket.say(event(1));
    expect(got).toEqual([]);
    expect(pair[1 - on]!.all('UNSB')).toHaveLength(1);
    // The old one is left.
    pair[0].ack('UNSB');
    expect(pair[0].closedWith).toMatchObject({ code: 1000 });
    expect(pair[1].closedWith).toBeUndefined();
  });

  it('while the client moves goes on there, if the code passes', async () => {
    client.subscribe('c', { onGap }, take);
    play.socket.hello().ack('SUB');
    const [old, now] = await next('goaway');
    now.ack('SUB');
    old.say(unss(503));
    now.say(event(1));
    await elapse(5_000);
    expect(got).toEqual([1]);
    expect(gaps).toEqual(['reconnect']);
    expect(now.all('SUB')).toHaveLength(1);
  });

  it('is that of the core, too', async () => {
    const core = new CoreClient('ws://test/', play.options);
    const onError = vi.fn();
    core.subscribe('c', { onError }, take);
    play.socket.hello().ack('SUB').say(event(1)).say(event(2, { own: true })).say(subs({ own: true })).say(unss(403));
    expect(got).toEqual([1]);
    expect(onError).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: 403 }));
    await core.close();
  });
});

describe('a subscription of the server', () => {
  it('takes what comes, is ready from SUBS on, and asks for nothing', async () => {
    const onReady = vi.fn();
    const subscription = client.subscribe('c', withServer({ own: true, onReady, onGap }), take);
    let ready = false;
    void subscription.ready.then(() => (ready = true));
    const socket = play.socket.hello();
    await elapse();
    expect([ready, onReady.mock.calls.length]).toEqual([false, 0]);
    socket.say(subs({ own: true })).say(event(1, { own: true })).say(event(2));
    await elapse();
    expect([ready, onReady.mock.calls.length]).toEqual([true, 1]);
    socket.say({ type: 'GAP', channel: 'c', own: true });
    expect(got).toEqual([1]);
    expect(gaps).toEqual(['server']);
    subscription.unsubscribe();
    await elapse();
    socket.say(event(3, { own: true }));
    expect(got).toEqual([1]);
    expect(socket.received).toEqual([]);
  });

  it('may be of a pattern', () => {
    client.subscribe('news.*', withServer({ pattern: true }), take);
    play.socket.hello().say(subs({ channel: 'news.*', pattern: true })).say(event(1, { channel: 'news.a', pattern: 'news.*' }));
    expect(got).toEqual([1]);
  });

  it('that was made before is found, and is ready', async () => {
    client.connect();
    play.socket.hello().say(subs());
    const onReady = vi.fn();
    const subscription = client.subscribe('c', withServer({ onReady }), take);
    expect(onReady).not.toHaveBeenCalled();
    await subscription.ready;
    expect(onReady).toHaveBeenCalledTimes(1);
    play.socket.say(event(1));
    expect(got).toEqual([1]);
  });

  it('that was taken away is not found', async () => {
    client.connect();
    play.socket.hello().say(subs()).say(unss(403));
    let ready = false;
    client.subscribe('c', withServer(), take).ready.then(() => (ready = true), () => {});
    await elapse(1);
    expect(ready).toBe(false);
    play.socket.say(subs());
    await elapse(1);
    expect(ready).toBe(true);
  });

  it('goes on in the next session, with a gap', async () => {
    client.subscribe('c', withServer({ onGap }), take);
    play.socket.hello().say(subs()).say(event(1));
    const [, now] = await next('lost');
    expect(gaps).toEqual([]);
    now.say(event(2)); // It is not subscribed.
    now.say(subs()).say(event(3));
    expect(got).toEqual([1, 3]);
    expect(gaps).toEqual(['reconnect']);
    expect(now.received).toEqual([]);
  });

  it.each([false, true])('asks for what it missed, and drops what comes until that comes (own: %s)', async (own) => {
    const more = own ? { own } : {};
    client.subscribe('c', withServer({ own, onGap }), take);
    play.socket.hello().say(subs({ ...more, at: 1, tag: 'tag1' })).say({ ...kept(2), ...more });
    const [, now] = await next('lost');
    now.say(subs({ ...more, at: 4, tag: 'tag4' }));
    expect(now.received).toEqual([{ type: 'SUB', id: '1', channel: 'c', since: { at: 2, tag: 'tag2' }, ...more }]);
    now.say({ ...kept(5), ...more });
    now.say({ type: 'ACK', for: '1', at: 5, tag: 'tag5', recovered: true });
    for (const at of [3, 4, 5, 6]) now.say({ ...kept(at), ...more });
    expect(got).toEqual([2, 3, 4, 5, 6]);
    expect(gaps).toEqual([]);
  });

  it('asks for nothing where it stands already, and knows that it missed nothing', async () => {
    client.subscribe('c', withServer({ onGap }), take);
    play.socket.hello().say(subs({ at: 1, tag: 'tag1' })).say(kept(2));
    const [, now] = await next('lost');
    now.say(subs({ at: 2, tag: 'tag2' })).say(kept(3));
    expect(now.received).toEqual([]);
    expect(got).toEqual([2, 3]);
    expect(gaps).toEqual([]);
  });

  it('has a gap where what it missed is not there any more, or cannot be asked for', async () => {
    client.subscribe('c', withServer({ onGap }), take);
    play.socket.hello().say(subs({ at: 1, tag: 'tag1' })).say(kept(2));
    const [, second] = await next('lost');
    second.say(subs({ at: 9, tag: 'tag9' })).say({ type: 'ACK', for: '1', at: 9, tag: 'tag9', recovered: false }).say(kept(10));
    expect(gaps).toEqual(['reconnect']);
    const [, third] = await next('lost');
    third.say(subs({ at: 12, tag: 'tag12' }));
    expect(third.last('SUB')['since']).toEqual({ at: 10, tag: 'tag10' });
    third.say({ type: 'NACK', for: '1', error: { code: 503, message: 'busy', retry_after: 500 } }).say(kept(13));
    await elapse(1_100);
    expect(third.last('SUB')).toMatchObject({ id: '2', since: { at: 10, tag: 'tag10' } });
    third.say({ type: 'ACK', for: '2', at: 13, tag: 'tag13', recovered: true });
    for (const at of [11, 12, 13, 14]) third.say(kept(at));
    expect(got).toEqual([2, 10, 11, 12, 13, 14]);
    expect(gaps).toEqual(['reconnect']);
  });

  it('that was made before the sign-in was through asks for what came meanwhile', async () => {
    const signing = new Client('ws://test/', { ...play.options, backoff: { min: 10, max: 10 }, auth: () => 'token' });
    signing.subscribe('c', withServer({ onGap }), take);
    await elapse();
    play.socket.hello();
    await elapse();
    play.socket.ack('AUTH').say(subs({ at: 1, tag: 'tag1' })).say(kept(2));
    play.socket.drop();
    await elapse(20);
    play.socket.hello().say(subs({ at: 2, tag: 'tag2' })).say(kept(3));
    await elapse();
    play.socket.ack('AUTH');
    expect(play.socket.last('SUB')['since']).toEqual({ at: 2, tag: 'tag2' });
    play.socket.say({ type: 'ACK', for: play.socket.last('SUB')['id'], at: 3, tag: 'tag3', recovered: true }).say(kept(3));
    expect(got).toEqual([2, 3]);
    expect(gaps).toEqual([]);
    await signing.close();
  });

  it.each(['lives', 'is lost'])('comes once where the next connection is left before it has begun, and the old one %s', async (old) => {
    client.subscribe('c', { onGap }, take);
    const first = play.socket.hello();
    first.say({ type: 'ACK', for: '1', at: 1, tag: 'tag1' }).say(kept(2));
    const [, second] = await next('goaway');
    first.say(kept(3));
    if (old === 'is lost') first.drop();
    second.say({ type: 'GOAWAY', after: 0 });
    await elapse(20);
    second.say({ type: 'ACK', for: '1', at: 3, tag: 'tag3', recovered: true }).say(kept(3)).say(kept(4));
    const third = play.socket.hello({ session: 's3' });
    third.say({ type: 'ACK', for: '1', at: 4, tag: 'tag4', recovered: true }).say(kept(5));
    expect(play.sockets).toHaveLength(3);
    expect(got).toEqual([2, 3, 4, 5]);
    expect(gaps).toEqual([]);
  });

  describe('while the client moves', () => {
    const opened = async (first: Message = {}): Promise<[ScriptedSocket, ScriptedSocket]> => {
      client.subscribe('c', withServer({ onGap }), take);
      play.socket.hello().say(subs(first));
      return next('goaway');
    };

    it('comes once, and leaves the old connection then', async () => {
      const [old, now] = await opened();
      old.say(event(1));
      now.say(subs()).say(event(2));
      old.say(event(2)).say(event(3));
      now.say(event(3)).say(event(4));
      expect(got).toEqual([1, 2, 3, 4]);
      expect(gaps).toEqual([]);
      expect(old.closedWith).toMatchObject({ code: 1000 });
      expect([...old.received, ...now.received]).toEqual([]);
    });

    it('leaves the old connection without an event, too', async () => {
      const [old, now] = await opened();
      now.say(subs());
      await elapse(1_000);
      expect(old.closedWith).toMatchObject({ code: 1000 });
      now.say(event(1));
      expect(got).toEqual([1]);
      expect(gaps).toEqual([]);
    });

    it('goes on from its position, if that is kept', async () => {
      const [old, now] = await opened({ at: 1, tag: 'tag1' });
      old.say(kept(2));
      now.say(subs({ at: 3, tag: 'tag3' }));
      expect(now.last('SUB')['since']).toEqual({ at: 2, tag: 'tag2' });
      old.say(kept(3));
      now.say(kept(4)).say({ type: 'ACK', for: '1', at: 4, tag: 'tag4', recovered: true });
      for (const at of [3, 4, 5]) now.say(kept(at));
      old.say(kept(4));
      expect(got).toEqual([2, 3, 4, 5]);
      expect(gaps).toEqual([]);
      await elapse();
      expect(old.closedWith).toMatchObject({ code: 1000 });
    });

    it('stays on the old connection while it is not made on the new one', async () => {
      const [old, now] = await opened();
      old.say(event(1));
      await elapse(1_000);
      old.say(event(2));
      expect(old.closedWith).toBeUndefined();
      old.drop();
      now.say(subs()).say(event(3));
      expect(got).toEqual([1, 2, 3]);
      expect(gaps).toEqual(['reconnect']);
    });
  });

  it('is made on the connection of which SUBS speaks', async () => {
    void client.call('slow').catch(() => {}); // The old connection has something to finish.
    const subscription = client.subscribe('c', withServer(), take);
    let ready = false;
    subscription.ready.then(() => (ready = true), () => {});
    play.socket.hello();
    const [old, now] = await next('goaway');
    old.say(subs());
    now.say(event(1));
    await elapse(1);
    expect([ready, got]).toEqual([false, []]);
    now.say(subs()).say(event(2));
    await elapse(1);
    expect([ready, got]).toEqual([true, [2]]);
  });

  it('ends with the error of UNSS, and rests after one that passes', async () => {
    const onError = vi.fn();
    client.subscribe('c', withServer({ onError, onGap }), take);
    const socket = play.socket.hello().say(subs()).say(event(1)).say(unss(503)).say(event(2));
    await elapse(60_000);
    expect(onError).not.toHaveBeenCalled();
    socket.say(subs()).say(event(3));
    expect(got).toEqual([1, 3]);
    expect(gaps).toEqual(['reconnect']);
    socket.say(unss(403)).say(subs()).say(event(4));
    expect(onError).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: 403, message: 'removed from the room' }));
    expect(got).toEqual([1, 3]);
    expect(socket.received).toEqual([]);
  });

  it('ends where the server ends it before what was missed has come', async () => {
    const onError = vi.fn();
    client.subscribe('c', withServer({ onError }), take);
    play.socket.hello().say(subs({ at: 1, tag: 'tag1' }));
    const [, now] = await next('lost');
    now.say(subs({ at: 2, tag: 'tag2' })).say(unss(403));
    now.say({ type: 'NACK', for: '1', error: { code: 403, message: 'not yours' } });
    await elapse(600_000);
    expect(onError).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ message: 'removed from the room' }));
    expect(now.all('SUB')).toHaveLength(1);
  });

  it('counts against no limit', async () => {
    const own = client.subscribe('own', withServer(), take);
    client.subscribe('c', take);
    const socket = play.socket.hello({ limits: { subscriptions: 1 } }).say(subs({ channel: 'own' }));
    expect(socket.all('SUB')).toHaveLength(1);
    socket.ack('SUB');
    own.unsubscribe();
    client.subscribe('d', take);
    await elapse();
    expect(socket.all('SUB')).toHaveLength(1);
  });

  it('and one of the application are one', async () => {
    const both: unknown[] = [];
    client.subscribe('c', withServer(), take);
    const own = client.subscribe('c', ({ args }) => both.push(args));
    const socket = play.socket.hello();
    expect(socket.all('SUB')).toHaveLength(1);
    socket.say(subs()).ack('SUB').say(subs()).say(event(1));
    own.unsubscribe();
    await elapse();
    socket.say(event(2));
    expect([got, both]).toEqual([[1, 2], [1]]);
  });

  it('serves one of the application that is refused', async () => {
    const own = vi.fn();
    const refused = vi.fn();
    client.subscribe('c', { onError: refused }, own);
    client.subscribe('c', withServer({ onGap }), take);
    const nack = (socket: ScriptedSocket): void => void socket.say({ type: 'NACK', for: socket.last('SUB')['id'], error: { code: 403, message: 'no' } });
    const first = play.socket.hello();
    nack(first);
    expect(refused).toHaveBeenCalledTimes(1);
    first.say(subs());
    expect(first.all('SUB')).toHaveLength(2);
    nack(first);
    first.say(event(1));
    const [, now] = await next('lost');
    now.say(subs());
    nack(now);
    now.say(event(2));
    expect(got).toEqual([1, 2]);
    expect(own).toHaveBeenCalledTimes(2);
    expect(gaps).toEqual(['reconnect']);
    expect(refused).toHaveBeenCalledTimes(1);
  });

  it('serves one of the application that comes later', async () => {
    client.subscribe('c', withServer(), take);
    const socket = play.socket.hello().say(subs());
    const later = client.subscribe('c', take);
    await later.ready;
    socket.say(event(1));
    expect(got).toEqual([1, 1]);
    const [, now] = await next('lost');
    expect(now.all('SUB')).toHaveLength(1);
  });

  it('that both sides want, and that is kept, comes once while the client moves', async () => {
    client.subscribe('c', { onGap }, take);
    const first = play.socket.hello().say(subs({ at: 1, tag: 'tag1' }));
    first.say({ type: 'ACK', for: '1', at: 1, tag: 'tag1' }).say(kept(2));
    const [old, now] = await next('goaway');
    now.say(subs({ at: 2, tag: 'tag2' })).say(kept(3));
    old.say(kept(3));
    now.say({ type: 'ACK', for: '1', at: 3, tag: 'tag3', recovered: true }).say(kept(3)).say(kept(4));
    expect(got).toEqual([2, 3, 4]);
    expect(gaps).toEqual([]);
  });

  it('may have a state, and a loop', async () => {
    const read = vi.fn();
    client.subscribe('c', withState(read, withServer()), take);
    const loop = client.subscribe('c', withServer());
    play.socket.hello().say(subs()).say(event(1));
    await elapse();
    expect(read).toHaveBeenCalledTimes(1);
    expect(got).toEqual([1]);
    expect(await loop.next()).toMatchObject({ value: { args: 1 } });
    play.socket.say(unss(403));
    await expect(loop.next()).rejects.toMatchObject({ code: 403 });
  });
});

describe('onServer', () => {
  it('tells of each once, also of those before, and of one again that was taken away', async () => {
    client.connect();
    play.socket.hello().say(subs({ own: true }));
    const listener = vi.fn();
    const off = onServer(client, listener);
    const told = (): unknown[] => listener.mock.calls.splice(0).map(([made]) => made);
    expect(told()).toEqual([]);
    await elapse();
    expect(told()).toEqual([{ channel: 'c', own: true, pattern: false }]);
    play.socket.say(subs()).say(subs({ pattern: true })).say(subs());
    expect(told()).toEqual([{ channel: 'c', own: false, pattern: false }, { channel: 'c', own: false, pattern: true }]);
    const [, now] = await next('lost');
    now.say(subs()).say(subs({ own: true }));
    expect(told()).toEqual([]);
    now.say(unss(403)).say(subs());
    expect(told()).toEqual([{ channel: 'c', own: false, pattern: false }]);
    off();
    now.say(subs({ channel: 'd' }));
    expect(told()).toEqual([]);
    expect(play.sockets.flatMap(({ received }) => received)).toEqual([]);
  });

  it('tells in time for a subscription to miss nothing', async () => {
    onServer(client, ({ channel, own }) => client.subscribe(channel, withServer({ own, onGap }), take));
    client.connect();
    play.socket.hello().say(subs({ at: 1, tag: 'tag1' })).say(subs({ channel: 'd', own: true })).say(kept(2)).say(event(3, { channel: 'd', own: true }));
    expect(got).toEqual([2, 3]);
    const [, now] = await next('lost');
    now.say(subs({ at: 2, tag: 'tag2' }));
    expect(got).toEqual([2, 3]);
    expect(gaps).toEqual([]);
  });

  it('tells in time for a subscription to know where it stands', async () => {
    onServer(client, ({ channel }) => client.subscribe(channel, withServer({ onGap }), take));
    client.connect();
    play.socket.hello().say(subs({ at: 1, tag: 'tag1' }));
    const [, now] = await next('lost');
    now.say(subs({ at: 1, tag: 'tag1' })).say(kept(2));
    expect(now.received).toEqual([]);
    expect(got).toEqual([2]);
    expect(gaps).toEqual([]);
  });

  it('a listener that throws harms nothing', async () => {
    client.connect();
    play.socket.hello().say(subs());
    onServer(client, () => {
      throw new Error('oops');
    });
    await elapse();
    play.socket.say(subs({ channel: 'd' }));
    expect(errors).toHaveLength(2);
    expect(client.state.status).toBe('open');
  });
});

describe('nonsense of the server', () => {
  it.each([
    [{ type: 'SUBS' }],
    [{ type: 'UNSS', channel: 7 }],
    [{ type: 'HERE', channel: null }],
  ])('%j is reported', (message) => {
    client.connect();
    play.socket.hello().say(message);
    expect(errors).toMatchObject([{ code: 1002 }]);
    expect(client.state.status).toBe('open');
  });

  it.each(['__proto__', 'constructor', 'toString'])('a channel of the name %s is one as any', (channel) => {
    client.subscribe(channel, withServer(), take);
    play.socket.hello().say(event(0, { channel })).say(subs({ channel })).say(event(1, { channel })).say(unss(403, { channel })).say(event(2, { channel }));
    expect(got).toEqual([1]);
  });

  it('SUBS, UNSS and HERE of what nobody wants change nothing', () => {
    client.subscribe('c', take);
    play.socket.hello().ack('SUB').say(subs({ channel: 'd' })).say(unss(403, { channel: 'd' })).say({ type: 'HERE', channel: 'd', count: 1 });
    play.socket.say({ type: 'HERE', channel: 'c', join: 'x', count: 'y' }).say(event(1));
    expect(got).toEqual([1]);
    expect(errors).toEqual([]);
  });
});
