// What a real server subscribes clients to, takes away, and says of who is there.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { members, onServer, withServer, type Client, type JugglerError, type Made, type MembersChange } from '../../src/index.js';
import { patience } from '../support/patience.js';
import { TestServer, nodeClient, reached, type TestContract } from '../support/server.js';

const server = new TestServer();
const clients: Client<TestContract>[] = [];
let errors: JugglerError[] = [];
let got: unknown[];
let gaps: string[];

beforeAll(() => server.start());
afterAll(() => server.kill());

afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.close()));
  const reported = errors;
  errors = [];
  expect(reported).toEqual([]);
});

function connect(user: string): Client<TestContract> {
  const client = nodeClient(server.url(`/ws?user=${user}`));
  client.on('error', (error) => errors.push(error));
  clients.push(client);
  [got, gaps] = [[], []];
  return client;
}

const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: patience, interval: 10 });
const numbers = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const take = ({ args }: { args: unknown }): void => void got.push(args);
const onGap = ({ reason }: { reason: string }): void => void gaps.push(reason);
const own = { own: true, onGap } as const;

describe('a channel of the user', () => {
  it('is subscribed to by the server, on each connection, and is out of reach of clients', async () => {
    const client = connect('ann');
    const other = connect('bob');
    const told: Made[] = [];
    onServer(client, (made) => told.push(made));
    const sub = client.subscribe('user:ann', withServer(own), take);
    other.subscribe('user:ann', take);
    await other.subscribe('*', { pattern: true }, take).ready;
    await sub.ready;
    await server.post('/control/tell?user=ann&n=3');
    await until(() => expect(got).toEqual(numbers(3)));
    await other.publish('user:ann', 'fake');
    await until(() => expect(got).toHaveLength(5)); // of both its own subscriptions
    expect(got.slice(3)).toEqual(['fake', 'fake']);
    expect(told).toEqual([{ channel: 'user:ann', pattern: false, own: true }]);
  });

  it('goes on after a crash, with a gap', async () => {
    const client = connect('ann');
    let readies = 0;
    const sub = client.subscribe('user:ann', withServer({ ...own, onReady: () => readies++ }), take);
    await sub.ready;
    await server.kill();
    await server.start();
    await until(() => expect(readies).toBe(2));
    await server.post('/control/tell?user=ann&n=2');
    await until(() => expect(got).toEqual([0, 1]));
    expect(gaps).toEqual(['reconnect']);
  });

  it.each([['with', 'kept.ann'], ['without', 'ann']])('loses and doubles nothing while nodes are replaced, %s history', async (_, user) => {
    const client = connect(user);
    await client.subscribe(`user:${user}`, withServer(own), take).ready;
    let rounds = 0;
    const drained = (async () => {
      for (let i = 0; i < 3; i++) {
        await server.post('/control/drain');
        await reached(client, 'open');
      }
    })();
    let isDone = false;
    void drained.finally(() => (isDone = true));
    while (!isDone) {
      await server.post(`/control/tell?user=${user}&n=20`);
      rounds++;
    }
    await drained;
    await until(() => expect(got.length).toBeGreaterThanOrEqual(20 * rounds));
    await sleep(300);
    expect(got).toEqual(numbers(rounds).flatMap(() => numbers(20)));
    expect(gaps).toEqual([]);
  });

  it('brings what was missed while the client was away, if that is kept', async () => {
    const client = connect('kept.bob');
    let readies = 0;
    await client.subscribe('user:kept.bob', withServer({ ...own, onReady: () => readies++ }), take).ready;
    await server.post('/control/tell?user=kept.bob&n=3');
    await until(() => expect(got).toHaveLength(3));
    await client.close();
    await server.post('/control/tell?user=kept.bob&n=100');
    client.connect();
    await until(() => expect(got).toEqual([...numbers(3), ...numbers(100)]));
    expect(readies).toBe(2);
    expect(gaps).toEqual([]);
  });
});

describe('a subscription that the server makes, or ends, while the session lives', () => {
  it('comes and goes', async () => {
    const client = connect('cy');
    const onError = vi.fn();
    const sub = client.subscribe('kept.room', withServer({ onError, onGap }), take);
    await reached(client, 'open');
    await server.post('/control/subscribe?user=cy&channel=kept.room');
    await sub.ready;
    await server.post('/control/publish?channel=kept.room&n=2');
    await until(() => expect(got).toEqual([0, 1]));
    await server.post('/control/unsubscribe?user=cy&channel=kept.room&code=403');
    await until(() => expect(onError).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: 403, message: 'removed by the test' })));
    await server.post('/control/publish?channel=kept.room&n=2');
    await client.call('test.echo', 1);
    expect(got).toEqual([0, 1]);
  });

  it('ends what the client has made, behind the events before', async () => {
    const client = connect('di');
    const onError = vi.fn();
    const loop = client.subscribe('kept.loop', { onError });
    const rest = client.subscribe('kept.rest', take);
    await Promise.all([loop.ready, rest.ready]);
    await server.post('/control/publish?channel=kept.loop&n=5');
    await server.post('/control/unsubscribe?user=di&channel=kept.loop&code=410');
    const seen: unknown[] = [];
    await expect(async () => {
      for await (const { args } of loop) seen.push(args);
    }).rejects.toMatchObject({ code: 410, message: 'removed by the test', outcome: 'refused' });
    expect(seen).toEqual(numbers(5));
    await server.post('/control/publish?channel=kept.rest&n=1');
    await until(() => expect(got).toEqual([0]));
  });

  it('comes back after a code that passes, with what it has missed', async () => {
    const client = connect('ed');
    await client.subscribe('kept.back', { onGap }, take).ready;
    await server.post('/control/publish?channel=kept.back&n=2');
    await until(() => expect(got).toHaveLength(2));
    await server.post('/control/unsubscribe?user=ed&channel=kept.back&code=503');
    await until(() => expect(errors.splice(0)).toMatchObject([{ code: 503 }]));
    await server.post('/control/publish?channel=kept.back&n=3');
    await until(() => expect(got).toEqual([0, 1, 0, 1, 2]));
    expect(gaps).toEqual([]);
  });

  it('is one for both sides', async () => {
    const client = connect('flo');
    const mine = client.subscribe('kept.both', take);
    await mine.ready;
    await server.post('/control/subscribe?user=flo&channel=kept.both');
    const theirs: unknown[] = [];
    await client.subscribe('kept.both', withServer({ onGap }), ({ args }) => theirs.push(args)).ready;
    await server.post('/control/publish?channel=kept.both&n=2');
    await until(() => expect([got, theirs]).toEqual([[0, 1], [0, 1]]));
    mine.unsubscribe();
    await server.post('/control/publish?channel=kept.both&n=1');
    await until(() => expect(theirs).toEqual([0, 1, 0]));
    expect(got).toEqual([0, 1]);
  });
});

describe('who is there', () => {
  const names = (change: Pick<MembersChange, 'members'>): string[] | undefined => change.members?.map(({ user }) => user).sort();

  it('is told, in changes, to all who ask', async () => {
    const ann = connect('ann');
    const room = members<{ name: string }>(ann, 'room.1', () => {});
    await room.ready;
    expect(room.members).toEqual([{ user: 'ann', sessions: 1, info: { name: 'ANN' } }]);
    const bob = connect('bob');
    const bobs = members(bob, 'room.1', () => {});
    const tab = connect('bob').subscribe('room.1', () => {});
    await until(() => expect([names(room), names(bobs)]).toEqual([['ann', 'bob'], ['ann', 'bob']]));
    await until(() => expect(room.members!.find(({ user }) => user === 'bob')!.sessions).toBe(2));
    tab.unsubscribe();
    await until(() => expect(room.members!.find(({ user }) => user === 'bob')!.sessions).toBe(1));
    bobs.unsubscribe();
    await until(() => expect([names(room), room.count]).toEqual([['ann'], 1]));
  });

  it('shares the subscription with those who want events', async () => {
    const client = connect('ann');
    const events = client.subscribe('room.2', take);
    await events.ready;
    const room = members(client, 'room.2', () => {});
    await room.ready;
    expect(names(room)).toEqual(['ann']);
    await server.post('/control/publish?channel=room.2&n=2');
    await until(() => expect(got).toEqual([0, 1]));
    room.unsubscribe();
    await client.call('test.echo', 1);
    await server.post('/control/publish?channel=room.2&n=1');
    await until(() => expect(got).toEqual([0, 1, 0]));
    const again = members(client, 'room.2', () => {});
    await again.ready;
    expect(names(again)).toEqual(['ann']);
  });

  it('is no news while nodes are replaced', async () => {
    const client = connect('ann');
    const changes: MembersChange[] = [];
    const room = members(client, 'room.3', (change) => changes.push(change));
    await room.ready;
    for (let i = 0; i < 2; i++) {
      const { session } = await reached(client, 'open');
      await server.post('/control/drain');
      await until(() => expect(client.state).not.toMatchObject({ session }));
      await reached(client, 'open');
    }
    expect(names(room)).toEqual(['ann']);
    expect(changes.every(({ leave }) => leave.length === 0)).toBe(true);
    await members(connect('bob'), 'room.3', () => {}).ready;
    await until(() => expect(names(room)).toEqual(['ann', 'bob']));
  });

  it('is told anew after a crash', async () => {
    const ann = connect('ann');
    const bob = connect('bob');
    const room = members(ann, 'room.4', () => {});
    await members(bob, 'room.4', () => {}).ready;
    await until(() => expect(names(room)).toEqual(['ann', 'bob']));
    await server.kill();
    await bob.close();
    await server.start();
    await until(() => expect(names(room)).toEqual(['ann']));
  });

  it('is a number alone where they are more than the server lists', async () => {
    const first = connect('u0');
    const room = members(first, 'room.5', () => {});
    await room.ready;
    const others = numbers(20).map((i) => connect(`u${i + 1}`));
    await Promise.all(others.map((other) => other.subscribe('room.5', () => {}).ready));
    await until(() => expect([room.count, room.members]).toEqual([21, undefined]));
    await others[0]!.close();
    await until(() => expect([room.count, names(room)?.length]).toEqual([20, 20]));
  });

  it('is refused of a channel that no rule names, and ends with the subscription', async () => {
    const client = connect('ann');
    await expect(members(client, 'kept.x').ready).rejects.toMatchObject({ code: 400, outcome: 'refused' });
    const onError = vi.fn();
    const room = members(client, 'room.6', { onError }, () => {});
    await room.ready;
    await server.post('/control/unsubscribe?user=ann&channel=room.6&code=403');
    await until(() => expect(onError).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ code: 403 })));
  });
});
