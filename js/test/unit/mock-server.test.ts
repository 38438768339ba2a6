// The mock server's own subscriptions, what it takes away, and whom it says to be there.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, members, onServer, withServer } from '../../src/index.js';
import { MockServer, type MockServerOptions } from '../../src/testing.js';

let server: MockServer;
let client: Client;
let got: unknown[];
let gaps: string[];

function start(options: MockServerOptions = {}, auth?: () => string): void {
  server = new MockServer(options);
  client = new Client('ws://mock', { WebSocket: server.WebSocket, logger: () => {}, backoff: { min: 1, max: 1 }, ...(auth && { auth }) });
}

beforeEach(() => {
  vi.useFakeTimers();
  [got, gaps] = [[], []];
  start();
});
afterEach(async () => {
  await client.close();
  vi.useRealTimers();
});

const elapse = (ms = 0): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);
const take = ({ args }: { args: unknown }): void => void got.push(args);
const onGap = ({ reason }: { reason: string }): void => void gaps.push(reason);

describe('subscribe', () => {
  it.each([undefined, () => 'token'])('subscribes all clients, with who connects (auth: %s)', async (auth) => {
    start(auth && { auth: () => true }, auth);
    server.subscribe('user:u1', { own: true });
    client.subscribe('user:u1', withServer({ own: true, onGap }), take);
    client.subscribe('user:*', { pattern: true }, take);
    await elapse();
    server.publishOwn('user:u1', 1);
    server.subscribe('room');
    client.subscribe('room', withServer(), take);
    await elapse();
    server.publish('room', 2);
    await elapse();
    expect(got).toEqual([1, 2]);
    server.disconnect();
    await elapse(10);
    server.publishOwn('user:u1', 3);
    server.publish('user:u1', 4); // for the pattern
    await elapse();
    expect(got).toEqual([1, 2, 3, 4]);
    expect(gaps).toEqual(['reconnect']);
    expect(server.subscriptions).toEqual(expect.arrayContaining(['user:u1', 'user:*', 'room']));
  });

  it('keeps events, and brings what a client has missed', async () => {
    start({ history: { '\0user:*': 10 } });
    server.subscribe('user:u1', { own: true });
    client.subscribe('user:u1', withServer({ own: true, onGap }), take);
    await elapse();
    server.publishOwn('user:u1', 1);
    server.disconnect();
    await elapse();
    server.publishOwn('user:u1', 2);
    await elapse(10);
    server.publishOwn('user:u1', 3);
    server.goAway();
    server.publishOwn('user:u1', 4);
    await elapse(10);
    server.publishOwn('user:u1', 5);
    await elapse(1_000);
    expect(got).toEqual([1, 2, 3, 4, 5]);
    expect(gaps).toEqual([]);
    expect(server.connections).toBe(1);
  });

  it('makes what onServer tells of', async () => {
    const listener = vi.fn();
    onServer(client, listener);
    server.subscribe('news.*', { pattern: true });
    client.connect();
    await elapse();
    expect(listener.mock.calls).toEqual([[{ channel: 'news.*', pattern: true, own: false }]]);
  });

  it('is out of reach of clients', async () => {
    const errors: number[] = [];
    client.subscribe('\0user:u1', { onError: ({ code }) => errors.push(code) }, take);
    client.subscribe('*', { pattern: true }, take);
    await elapse();
    server.publishOwn('user:u1', 1);
    await elapse();
    expect(errors).toEqual([400]);
    expect(got).toEqual([]);
  });
});

describe('unsubscribe', () => {
  it('ends what clients and server have made', async () => {
    const errors: unknown[] = [];
    const onError = ({ code, message }: { code: number; message: string }): void => void errors.push([code, message]);
    server.subscribe('a');
    client.subscribe('a', withServer({ onError }), take);
    client.subscribe('b', { onError }, take);
    client.subscribe('c*', { pattern: true, onError }, take);
    await elapse();
    server.unsubscribe('a');
    server.unsubscribe('b', { code: 410, message: 'closed' });
    server.unsubscribe('c*', { pattern: true });
    server.unsubscribe('nobody');
    for (const channel of ['a', 'b', 'c']) server.publish(channel, channel);
    await elapse(600_000);
    expect(errors).toEqual([[403, 'the subscription was taken away'], [410, 'closed'], [403, 'the subscription was taken away']]);
    expect(got).toEqual([]);
    expect(server.subscriptions).toEqual([]);
  });

  it('ends for a while with a code that passes', async () => {
    client.subscribe('a', { onGap }, take);
    await elapse();
    server.unsubscribe('a', { code: 503, retryAfter: 500 });
    server.publish('a', 1);
    await elapse(2_000);
    server.publish('a', 2);
    await elapse();
    expect(got).toEqual([2]);
    expect(gaps).toEqual(['reconnect']);
  });

  it('by the client leaves what the server wants', async () => {
    start({ limits: { subscriptions: 1 } });
    server.subscribe('a');
    const both = client.subscribe('a', take);
    await elapse();
    both.unsubscribe();
    client.subscribe('b', take);
    await elapse();
    expect(server.subscriptions).toEqual(['a', 'b']);
  });
});

describe('here', () => {
  const names = (room: { members: readonly { user: string }[] | undefined }): unknown => room.members?.map(({ user }) => user);

  it('says who is there, and what changes', async () => {
    server.here('room', [{ user: 'ann', sessions: 2, info: { name: 'Ann' } }]);
    const changes: unknown[] = [];
    const room = members(client, 'room', ({ join, leave, count }) => changes.push([join.map(({ user }) => user), leave, count]));
    await room.ready;
    expect(room.members).toEqual([{ user: 'ann', sessions: 2, info: { name: 'Ann' } }]);
    server.here('room', [{ user: 'ann' }, { user: 'bob' }]);
    server.here('room', [{ user: 'bob' }]);
    await elapse();
    expect(changes).toEqual([[['ann'], [], 1], [['ann', 'bob'], [], 2], [[], ['ann'], 1]]);
    server.disconnect();
    await elapse();
    server.here('room', []);
    await elapse(10);
    expect([names(room), room.count]).toEqual([[], 0]);
  });

  it('says only how many there are above a bound', async () => {
    start({ listed: 2 });
    const room = members(client, 'room', () => {});
    const three = ['a', 'b', 'c'].map((user) => ({ user }));
    server.here('room', three);
    await room.ready;
    expect([names(room), room.count]).toEqual([undefined, 3]);
    server.here('room', three.slice(1));
    await elapse();
    expect([names(room), room.count]).toEqual([['b', 'c'], 2]);
    server.here('room', three);
    await elapse();
    expect([names(room), room.count]).toEqual([undefined, 3]);
  });

  it('was never said: it is refused', async () => {
    await expect(members(client, 'room').ready).rejects.toMatchObject({ code: 400 });
  });
});
