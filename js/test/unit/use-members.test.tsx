// @vitest-environment happy-dom
// The hook that shows who is there, and that of what the server subscribes to.
import { StrictMode, act, type ReactElement } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, withServer } from '../../src/index.js';
import { useMembers, useSubscription, type MembersState } from '../../src/react.js';
import { MockServer } from '../../src/testing.js';

let server: MockServer;
let client: Client;
let root: Root;
let seen: [channel: string | null, state: MembersState][];

beforeEach(() => {
  (globalThis as any).IS_REACT_ACT_ENVIRONMENT = true;
  vi.useFakeTimers();
  seen = [];
  server = new MockServer();
  client = new Client('ws://mock', { WebSocket: server.WebSocket, logger: () => {}, backoff: { max: 1 } });
  root = createRoot(document.createElement('div'));
});

afterEach(async () => {
  await act(async () => root.unmount());
  await client.close();
  vi.useRealTimers();
});

const elapse = (ms = 0): Promise<unknown> => act(() => vi.advanceTimersByTimeAsync(ms));
const render = async (element: ReactElement): Promise<void> => {
  await act(async () => root.render(element));
  await elapse();
};
const last = (): MembersState => seen.at(-1)![1];
const names = ({ members }: MembersState): string[] | undefined => members?.map(({ user }) => user);

function Room({ channel }: { channel: string | null }): null {
  seen.push([channel, useMembers(client, channel)]);
  return null;
}

describe('useMembers', () => {
  it('shows who is there, and renders at each change', async () => {
    server.here('a', [{ user: 'ann' }]);
    await render(<Room channel="a" />);
    expect(seen[0]![1]).toEqual({ members: undefined, count: undefined, error: undefined, pending: true });
    expect(last()).toMatchObject({ count: 1, pending: false });
    await act(async () => server.here('a', [{ user: 'ann' }, { user: 'bob', info: 7 }]));
    await elapse();
    expect(last().members).toEqual([{ user: 'ann', sessions: 1 }, { user: 'bob', sessions: 1, info: 7 }]);
    const { members } = last();
    await render(<Room channel="a" />);
    expect(last().members).toBe(members);
  });

  it('asks once in StrictMode, and leaves when it goes away', async () => {
    server.here('a', [{ user: 'ann' }]);
    await render(<StrictMode><Room channel="a" /><Room channel="a" /></StrictMode>);
    expect(names(last())).toEqual(['ann']);
    expect(server.subscriptions).toEqual(['a']);
    await render(<div />);
    expect(server.subscriptions).toEqual([]);
  });

  it('shows nobody of another channel', async () => {
    server.here('a', [{ user: 'ann' }]);
    server.here('b', [{ user: 'bob' }]);
    await render(<Room channel="a" />);
    await render(<Room channel="b" />);
    await render(<Room channel={null} />);
    expect(last()).toMatchObject({ members: undefined, pending: false });
    await render(<Room channel="a" />);
    for (const [channel, state] of seen) {
      const shown = names(state) ?? [];
      expect(shown, String(channel)).toEqual(shown.length ? [channel === 'a' ? 'ann' : 'bob'] : []);
    }
    expect(names(last())).toEqual(['ann']);
  });

  it('says why not, keeps what was known, and goes on', async () => {
    await render(<Room channel="a" />);
    expect(last()).toMatchObject({ members: undefined, pending: false, error: { code: 400 } });
    server.here('a', [{ user: 'ann' }]);
    await act(async () => server.disconnect());
    await elapse(100);
    expect(last()).toMatchObject({ count: 1, pending: false, error: undefined });
    await act(async () => server.unsubscribe('a', { message: 'removed' }));
    await elapse(10);
    expect(last()).toMatchObject({ count: 1, error: { code: 403, message: 'removed' } });
  });

  it('renders on a server, without a connection', () => {
    expect(renderToString(<Room channel="a" />)).toBe('');
    expect(last()).toEqual({ members: undefined, count: undefined, error: undefined, pending: true });
    expect(client.state.status).toBe('closed');
  });
});

describe('useSubscription', () => {
  it('begins with the newest events, if asked to', async () => {
    server = new MockServer({ history: { a: 10 } });
    client = new Client('ws://mock', { WebSocket: server.WebSocket, logger: () => {} });
    for (const n of [1, 2, 3]) server.publish('a', n);
    const got: unknown[] = [];
    function News(): null {
      useSubscription(client, 'a', ({ args }) => got.push(args), { last: 2 });
      return null;
    }
    await render(<StrictMode><News /></StrictMode>);
    expect(got).toEqual([2, 3]);
  });

  it('takes what the server subscribes to, and says why that has ended', async () => {
    const got: unknown[] = [];
    const states: unknown[] = [];
    const onError = vi.fn();
    function Inbox(): null {
      const { ready, error } = useSubscription(client, 'user:u1', ({ args }) => got.push(args), withServer({ own: true, onError }));
      states.push([ready, error?.code]);
      return null;
    }
    await render(<StrictMode><Inbox /></StrictMode>);
    expect(states.at(-1)).toEqual([false, undefined]);
    await act(async () => server.subscribe('user:u1', { own: true }));
    await elapse();
    expect(states.at(-1)).toEqual([true, undefined]);
    await act(async () => server.publishOwn('user:u1', 1));
    await elapse();
    expect(got).toEqual([1]);
    await act(async () => server.unsubscribe('user:u1', { own: true }));
    await elapse();
    expect(states.at(-1)).toEqual([false, 403]);
    expect(onError).toHaveBeenCalledTimes(1);
  });
});
