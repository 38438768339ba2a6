// members: who is in a channel.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, CoreClient, members, withServer, type JugglerError, type Members, type MembersChange } from '../../src/index.js';
import { Script, type Message, type ScriptedSocket } from '../support/script.js';

let play: Script;
let client: Client;
let errors: JugglerError[];
let changes: MembersChange[];

beforeEach(() => {
  vi.useFakeTimers();
  play = new Script();
  client = new Client('ws://test/', { ...play.options, backoff: { min: 10, max: 10 } });
  [errors, changes] = [[], []];
  client.on('error', (error) => errors.push(error));
});
afterEach(async () => {
  await client.close();
  vi.useRealTimers();
});

const elapse = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);
const wire = (user: string, n = 1, info?: unknown): Message => ({ user, n, info });
const take = (change: MembersChange): void => void changes.push(change);
const names = ({ members }: Pick<Members, 'members'>): string[] | undefined => members?.map(({ user }) => user);

/** Acknowledges the last SUB. */
function ack(fields: Message, socket = play.socket): ScriptedSocket {
  return socket.say({ type: 'ACK', for: socket.last('SUB')['id'], ...fields });
}

const here = (fields: Message, socket = play.socket): ScriptedSocket => socket.say({ type: 'HERE', channel: 'c', ...fields });

/** A room of Ann, in two tabs, and Bob. */
function room(handler: ((change: MembersChange) => void) | undefined = take): Members<{ name: string }> {
  const room = members<{ name: string }>(client, 'c', handler);
  play.socket.hello({ here: true });
  ack({ here: [wire('ann', 2, { name: 'Ann' }), wire('bob')], count: 2 });
  return room;
}

async function next(how: 'lost' | 'goaway'): Promise<[old: ScriptedSocket, now: ScriptedSocket]> {
  const old = play.socket;
  if (how === 'lost') old.drop();
  else old.say({ type: 'GOAWAY', after: 0 });
  await elapse(20);
  return [old, play.socket.hello({ session: 's2' })];
}

describe('members', () => {
  it('gives who is there, and then what changes', async () => {
    const sub = room();
    expect(play.socket.received).toEqual([{ type: 'SUB', id: '1', channel: 'c', here: true }]);
    await sub.ready;
    const [ann, bob] = [{ user: 'ann', sessions: 2, info: { name: 'Ann' } }, { user: 'bob', sessions: 1 }];
    expect(changes).toEqual([{ members: [ann, bob], count: 2, join: [ann, bob], leave: [] }]);
    here({ join: [wire('cy'), wire('bob', 3)], leave: ['ann'], count: 2 });
    const [cy, tabs] = [{ user: 'cy', sessions: 1 }, { user: 'bob', sessions: 3 }];
    expect(changes[1]).toEqual({ members: [tabs, cy], count: 2, join: [tabs, cy], leave: ['ann'] });
    expect(sub.members).toBe(changes[1]!.members);
    expect(sub.count).toBe(2);
    expect(changes[0]!.members).toHaveLength(2);
  });

  it('is not told by the ACK of a subscription that was on its way and did not ask', async () => {
    for (const order of [
      [0, 1],
      [1, 0],
    ]) {
      client.subscribe('c', { last: 5 }, () => {});
      if (client.state.status === 'connecting') play.socket.hello({ here: true });
      const refused = vi.fn();
      const room = members(client, 'c', { onError: refused }, take);
      const subs = play.socket.all('SUB').slice(-2);
      const answers: Message[] = [{}, { here: [wire('ann')], count: 1 }];
      for (const i of order) play.socket.say({ type: 'ACK', for: subs[i]!['id'], ...answers[i] });
      expect(refused).not.toHaveBeenCalled();
      expect(names(room)).toEqual(['ann']);
      await client.close();
      client = new Client('ws://test/', { ...play.options, backoff: { min: 10, max: 10 } });
    }
  });

  it('can be looped over, and stays the same array until it changes', async () => {
    const sub = room(null as unknown as undefined);
    const before = sub.members;
    here({ join: [wire('ann', 2, { name: 'Ann' })], count: 2 });
    expect(sub.members).toBe(before);
    here({ join: [wire('cy')], count: 3 });
    expect(sub.members).not.toBe(before);
    const seen: unknown[] = [];
    for await (const { join } of sub) {
      seen.push(join.map(({ user }) => user));
      if (seen.length === 2) break;
    }
    expect(seen).toEqual([['ann', 'bob'], ['cy']]);
    await elapse();
    expect(play.socket.all('UNSB')).toHaveLength(1);
  });

  it('brings no events of the channel, and shares its subscription', async () => {
    const got = vi.fn();
    room();
    client.subscribe('c', got);
    play.socket.say({ type: 'EVNT', id: 'e', channel: 'c', args: 1 }).say({ type: 'GAP', channel: 'c' });
    expect(changes).toHaveLength(1);
    expect(got).toHaveBeenCalledTimes(1);
    expect(play.socket.all('SUB')).toHaveLength(1);
  });

  it('asks by another SUB where the channel is subscribed to already, and takes that back', async () => {
    const events = client.subscribe('c', () => {});
    play.socket.hello().ack('SUB');
    const first = members(client, 'c', take);
    const second = members(client, 'c', take);
    expect(play.socket.all('SUB')).toMatchObject([{}, { here: true }]);
    let ready = false;
    void first.ready.then(() => (ready = true));
    await elapse();
    expect(ready).toBe(false);
    ack({ here: [wire('ann')], count: 1 });
    await elapse();
    expect(ready).toBe(true);
    expect(changes).toHaveLength(2);
    first.unsubscribe();
    await elapse();
    second.unsubscribe();
    expect(play.socket.all('SUB')).toHaveLength(2);
    await elapse();
    expect(play.socket.all('SUB')).toHaveLength(3);
    expect(play.socket.last('SUB')).toEqual({ type: 'SUB', id: '3', channel: 'c' });
    const third = members(client, 'c', take);
    expect(play.socket.last('SUB')).toMatchObject({ here: true });
    third.unsubscribe();
    events.unsubscribe();
    await elapse();
    expect(play.socket.all('SUB')).toHaveLength(4);
    expect(play.socket.all('UNSB')).toHaveLength(1);
  });

  it('that is mounted twice, as React does it, asks once', async () => {
    client.subscribe('c', () => {});
    play.socket.hello().ack('SUB');
    members(client, 'c', take).unsubscribe();
    members(client, 'c', take);
    await elapse();
    expect(play.socket.all('SUB')).toHaveLength(2);
    ack({ here: [], count: 0 });
    await elapse();
    expect(changes).toEqual([{ members: [], count: 0, join: [], leave: [] }]);
  });

  it('tells a later one all that is known', async () => {
    room(() => {});
    here({ join: [wire('cy')], count: 3 });
    const later = members(client, 'c', take);
    expect(names(later)).toEqual(['ann', 'bob', 'cy']);
    expect(changes).toEqual([]);
    await later.ready;
    expect(changes.map(({ join }) => join.length)).toEqual([3]);
  });

  it('is told anew after a lost connection: the change is what is different', async () => {
    const sub = room();
    const [, now] = await next('lost');
    expect(names(sub)).toEqual(['ann', 'bob']);
    expect(now.last('SUB')).toMatchObject({ here: true });
    ack({ here: [wire('bob'), wire('cy')], count: 2 });
    expect(changes[1]).toMatchObject({ join: [{ user: 'cy' }], leave: ['ann'], count: 2 });
    expect(names(sub)).toEqual(['bob', 'cy']);
    await next('lost');
    ack({ here: [wire('cy'), wire('bob')], count: 2 });
    expect(changes).toHaveLength(2);
  });

  it('goes on without a repetition where the client moves', async () => {
    const sub = room();
    const [old, now] = await next('goaway');
    here({ join: [wire('cy')], count: 3 }, old);
    ack({ here: [wire('ann', 2, { name: 'Ann' }), wire('bob'), wire('cy'), wire('di')], count: 4 }, now);
    here({ leave: ['ann', 'bob'], count: 1 }, old); // The new connection tells.
    here({ leave: ['di'], count: 3 }, now);
    await elapse(1_000);
    expect(changes.slice(1).map(({ join, leave }) => [join.map(({ user }) => user), leave])).toEqual([[['cy'], []], [['di'], []], [[], ['di']]]);
    expect(names(sub)).toEqual(['ann', 'bob', 'cy']);
  });

  it('is a number alone where they are more than the server lists', async () => {
    const sub = members(client, 'c', take);
    play.socket.hello();
    ack({ count: 313 });
    await sub.ready;
    expect([sub.members, sub.count]).toEqual([undefined, 313]);
    here({ count: 314 });
    here({ count: 314 });
    here({ here: [wire('ann'), wire('bob')], count: 2 });
    here({ count: 101 });
    here({ join: [wire('cy')], count: 102 }); // Of nobody knows what.
    const told = changes.map((change) => [names(change), change.count, change.join.length, change.leave.length]);
    expect(told).toEqual([[undefined, 313, 0, 0], [undefined, 314, 0, 0], [['ann', 'bob'], 2, 2, 0], [undefined, 101, 0, 0], [undefined, 102, 0, 0]]);
  });

  it('is refused where the server does not tell, until it does', async () => {
    const onError = vi.fn();
    const sub = members(client, 'c', { onError }, take);
    const loop = members(client, 'c');
    const waiting = loop.next();
    play.socket.hello();
    ack({});
    await expect(sub.ready).rejects.toMatchObject({ code: 400, outcome: 'refused', message: expect.stringContaining('does not tell') });
    await expect(waiting).rejects.toMatchObject({ code: 400 });
    await next('lost');
    ack({});
    await next('lost');
    expect(onError).toHaveBeenCalledTimes(1);
    ack({ here: [wire('ann')], count: 1 });
    await sub.ready;
    expect(changes).toHaveLength(1);
  });

  it('is asked for again by one that comes after a refusal', async () => {
    members(client, 'c', take);
    play.socket.hello();
    ack({});
    const onError = vi.fn();
    members(client, 'c', { onError }, take);
    ack({});
    expect(play.socket.all('SUB')).toHaveLength(2);
    expect(onError).toHaveBeenCalledTimes(1);
  });

  it('is asked for again after a refusal that passes, and refused by another', async () => {
    const onError = vi.fn();
    client.subscribe('c', () => {});
    play.socket.hello().ack('SUB');
    members(client, 'c', { onError }, take);
    const nack = (code: number): unknown => play.socket.say({ type: 'NACK', for: play.socket.last('SUB')['id'], error: { code, message: 'no', retry_after: 300 } });
    nack(429);
    await elapse(900);
    expect(play.socket.all('SUB')).toHaveLength(2);
    await elapse(200);
    expect(play.socket.all('SUB')).toHaveLength(3);
    nack(403);
    expect(onError).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: 403 }));
    await elapse(60_000);
    expect(play.socket.all('SUB')).toHaveLength(3);
  });

  it('ends when the server ends the subscription', async () => {
    const onError = vi.fn();
    const sub = members(client, 'c', { onError }, take);
    play.socket.hello();
    ack({ here: [wire('ann')], count: 1 }).say({ type: 'UNSS', channel: 'c', error: { code: 403, message: 'removed' } });
    here({ join: [wire('bob')], count: 2 });
    expect(onError).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: 403, message: 'removed' }));
    expect(changes).toHaveLength(1);
    await expect(sub.ready).rejects.toMatchObject({ code: 403 });
    await elapse();
    expect(play.socket.all('UNSB')).toEqual([]);
  });

  it('is of a channel that the server has subscribed to, too', async () => {
    client.subscribe('c', withServer(), () => {});
    play.socket.hello().say({ type: 'SUBS', channel: 'c' });
    const sub = members(client, 'c', take);
    expect(play.socket.received).toEqual([{ type: 'SUB', id: '1', channel: 'c', here: true }]);
    ack({ here: [wire('ann')], count: 1 });
    await sub.ready;
    expect(names(sub)).toEqual(['ann']);
  });

  it('is refused where the SUB is, though the server subscribes to the channel', async () => {
    const onError = vi.fn();
    const sub = members(client, 'c', { onError }, take);
    play.socket.hello().say({ type: 'SUBS', channel: 'c' }).say({ type: 'NACK', for: '1', error: { code: 403, message: 'no' } });
    await expect(sub.ready).rejects.toMatchObject({ code: 403 });
    expect(onError).toHaveBeenCalledTimes(1);
  });

  it('rests while the client is closed, and ends with its signal', async () => {
    const controller = new AbortController();
    const sub = members(client, 'c', { signal: controller.signal }, take);
    play.socket.hello();
    ack({ here: [wire('ann')], count: 1 });
    await client.close();
    client.connect();
    play.socket.hello();
    ack({ here: [wire('bob')], count: 1 });
    expect(changes).toHaveLength(2);
    controller.abort();
    await elapse();
    expect(play.socket.all('UNSB')).toHaveLength(1);
    await expect(sub.next()).resolves.toMatchObject({ done: true });
    members(client, 'c', { signal: AbortSignal.abort() }, take);
    await elapse();
    expect(play.socket.all('SUB')).toHaveLength(1);
  });

  it('works with the core, with its methods taken off it, and behind a Proxy', async () => {
    const core = new CoreClient('ws://test/', play.options);
    const sub = members(core, 'c', take);
    play.socket.hello();
    ack({ here: [wire('ann')], count: 1 });
    expect(changes).toHaveLength(1);
    const proxy = new Proxy(sub, {});
    expect([names(proxy), proxy.count]).toEqual([['ann'], 1]);
    const { unsubscribe } = sub;
    unsubscribe();
    await elapse();
    expect(play.socket.all('UNSB')).toHaveLength(1);
    await core.close();
  });

  it('checks what it is given', async () => {
    const sub = members(client, '', take);
    await expect(sub.ready).rejects.toMatchObject({ code: 400 });
    expect(errors).toMatchObject([{ code: 400 }]);
  });
});

describe('a server that cannot be trusted', () => {
  it('sends lists of whatever there is', () => {
    const sub = members(client, 'c', take);
    play.socket.hello();
    ack({ here: [null, 7, 'x', [], {}, { user: 3 }, { user: 'ann', n: 'many' }, { user: 'ann', n: -1, info: null }], count: 'two' });
    expect(sub.members).toEqual([{ user: 'ann', sessions: 1, info: null }]);
    expect(sub.count).toBe(1);
    for (const odd of [{}, { join: 7 }, { join: 'ab', leave: { 0: 'ann' } }, { leave: [null, 1] }, { count: {} }, { join: [null] }, { here: 'ann' }, { count: -5 }, { count: null, join: null }]) here(odd);
    expect(names(sub)).toEqual(['ann']);
    expect(client.state.status).toBe('open');
    expect(errors).toEqual([]);
  });

  it('sends a user twice, who came and went, and who was never there', () => {
    const sub = room();
    here({ join: [wire('ann', 2, { name: 'Ann' }), wire('ann', 5), wire('cy'), wire('cy')], leave: ['cy', 'nobody', 'bob', 'bob'], count: 2 });
    expect(sub.members).toEqual([{ user: 'ann', sessions: 5, info: undefined }, { user: 'cy', sessions: 1, info: undefined }]);
    expect(changes[1]!.leave).toEqual(['bob']);
  });

  it('has users of the names that objects have', () => {
    const sub = members(client, 'c', take);
    play.socket.hello();
    play.socket.say(`{"type":"ACK","for":"1","here":[{"user":"__proto__","n":1,"info":{"__proto__":{"admin":true}}},{"user":"constructor","n":2},{"user":"","n":1}],"count":3}`);
    expect(names(sub)).toEqual(['__proto__', 'constructor', '']);
    here({ leave: ['__proto__', 'toString'], count: 2 });
    expect(names(sub)).toEqual(['constructor', '']);
    expect(({} as { admin?: unknown }).admin).toBeUndefined();
  });

  it('lists 10,000 users, and changes them', () => {
    const users = Array.from({ length: 10_000 }, (_, i) => wire(`user-${i}`, 1, { name: `User ${i}` }));
    const sub = members(client, 'c', take);
    play.socket.hello();
    ack({ here: users, count: users.length });
    expect(sub.members).toHaveLength(10_000);
    for (let i = 0; i < 100; i++) here({ leave: [`user-${i}`], join: [wire(`new-${i}`)], count: users.length });
    expect(changes).toHaveLength(101);
    expect(changes[100]).toMatchObject({ count: 10_000, join: [{ user: 'new-99' }], leave: ['user-99'] });
    expect(sub.members!.at(-1)).toMatchObject({ user: 'new-99' });
  });
});
