// @vitest-environment happy-dom
import { StrictMode, act, createElement, useLayoutEffect, type ReactElement } from 'react';
import { createRoot, hydrateRoot, type Root } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, withKey } from '../../src/index.js';
import { useCall, useConnection, useSubscription, type CallState, type SubscriptionState } from '../../src/react.js';
import { MockServer } from '../../src/testing.js';
import { Script } from '../support/script.js';

interface App {
  calls: { double: (n: number) => number; slow: () => void };
  channels: { news: string; other: string };
}

let server: MockServer<App>;
let client: Client<App>;
let root: Root;
let container: HTMLElement;

beforeEach(() => {
  (globalThis as any).IS_REACT_ACT_ENVIRONMENT = true;
  server = new MockServer<App>().handle('double', (n) => n * 2);
  client = new Client<App>('ws://mock', { WebSocket: server.WebSocket, logger: () => {}, backoff: { max: 1 } });
  container = document.createElement('div');
  root = createRoot(container);
});

afterEach(async () => {
  vi.useRealTimers();
  await act(async () => root.unmount());
  await client.close();
});

const settle = (): Promise<void> => act(() => new Promise<void>((resolve) => setTimeout(resolve, 10)));
const render = async (element: ReactElement): Promise<void> => {
  await act(async () => root.render(element));
  await settle();
};

describe('useConnection', () => {
  function Status() {
    return <>{useConnection(client).status}</>;
  }

  it('follows the state, and connects nothing by itself', async () => {
    await render(<Status />);
    expect(container.textContent).toBe('closed');
    await act(async () => client.connect());
    await settle();
    expect(container.textContent).toBe('open');
    await act(async () => server.disconnect(4403));
    await settle();
    expect(container.textContent).toBe('closed');
  });

  it('renders on a server', () => {
    expect(renderToString(<Status />)).toBe('closed');
  });

  it('takes over what a server rendered, though the client is open by then', async () => {
    const page = document.createElement('div');
    page.innerHTML = renderToString(<Status />);
    client.connect();
    await settle();
    const onRecoverableError = vi.fn();
    const hydrated = await act(async () => hydrateRoot(page, <Status />, { onRecoverableError }));
    expect(page.textContent).toBe('open');
    expect(onRecoverableError).not.toHaveBeenCalled();
    await act(async () => hydrated.unmount());
  });
});

describe('useCall', () => {
  let seen: CallState<number>[];
  function Double({ n, enabled = true }: { n: number; enabled?: boolean }) {
    const state = useCall(client, 'double', n, { enabled });
    seen.push(state);
    return <>{state.pending ? `pending ${state.data}` : (state.error?.message ?? `${state.data}`)}</>;
  }
  beforeEach(() => {
    seen = [];
  });

  it('with a key leaves its call, and joins it, and calls again when the key changes', async () => {
    const signals: AbortSignal[] = [];
    server.handle('double', (_, { signal }) => new Promise(() => signals.push(signal)));
    function Keyed({ callKey }: { callKey: string }) {
      return <>{useCall(client, 'double', 1, withKey(callKey)).data}</>;
    }
    await render(<Keyed callKey="a" />);
    await render(<></>);
    await render(<Keyed callKey="a" />);
    expect(signals).toHaveLength(1);
    await render(<Keyed callKey="b" />);
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, false]);
  });

  it('calls, and calls again when the args change', async () => {
    await render(<Double n={2} />);
    expect(seen[0]).toMatchObject({ pending: true, data: undefined, error: undefined });
    expect(container.textContent).toBe('4');
    const renders = seen.length;
    await render(<Double n={2} />);
    expect(seen.length).toBe(renders + 1);
    await render(<Double n={5} />);
    expect(container.textContent).toBe('10');
  });

  describe('shows no answer for another question', () => {
    interface Props {
      of: Client<any>;
      uri: string;
      args: unknown;
      headers: Record<string, string>;
    }
    let commits: string[];
    let other: Client<any>;
    function Ask({ of, uri, args, headers }: Props) {
      const { data, error, pending } = useCall(of, uri, args, { headers });
      const shown = pending ? `pending ${data} ${error?.message}` : (error?.message ?? String(data));
      useLayoutEffect(() => void commits.push(shown));
      return null;
    }
    beforeEach(() => {
      const echo = (name: string) => (args: unknown, { headers }: { headers: object }) => {
        if (args === 'bad') throw new Error('bad');
        return `${name} ${JSON.stringify(args)} ${JSON.stringify(headers)}`;
      };
      commits = [];
      server.handle('a' as any, echo('a')).handle('b' as any, echo('b'));
      const there = new MockServer().handle('a', () => 'other');
      other = new Client('ws://other', { WebSocket: there.WebSocket, logger: () => {} });
    });
    afterEach(() => other.close());

    it.each<[what: string, first: Partial<Props>, second: Partial<Props>, answer: string]>([
      ['args', { args: 1 }, { args: 2 }, 'a 2 {}'],
      ['an error', { args: 'bad' }, { args: 2 }, 'a 2 {}'],
      ['after which an error comes', { args: 1 }, { args: 'bad' }, 'internal error'],
      ['no args', { args: null }, { args: undefined }, 'a undefined {}'],
      ['the URI', { uri: 'a' }, { uri: 'b' }, 'b 1 {}'],
      ['headers', { headers: { tenant: 'x' } }, { headers: { tenant: 'y' } }, 'a 1 {"tenant":"y"}'],
      ['the client', {}, { get of() { return other; } }, 'other'],
    ])('%s', async (_, first, second, answer) => {
      await render(<Ask of={client} uri="a" args={1} headers={{}} {...first} />);
      expect(commits.at(-1)).not.toContain('pending');
      commits = [];
      await render(<Ask of={client} uri="a" args={1} headers={{}} {...second} />);
      expect([...new Set(commits)]).toEqual(['pending undefined undefined', answer]);
    });

    it('however the answers race', async () => {
      const answers = new Map<unknown, (result: string) => void>();
      server.handle('a' as any, (args: unknown) => new Promise((resolve) => answers.set(args, resolve)));
      for (const args of [1, 2, 1, 3]) await render(<Ask of={client} uri="a" args={args} headers={{}} />);
      answers.get(3)!('three');
      await settle();
      for (const args of [1, 2]) answers.get(args)!('late');
      await settle();
      expect([...new Set(commits)]).toEqual(['pending undefined undefined', 'three']);
    });
  });

  it('shows what it has, as pending, from the render in which it is enabled again', async () => {
    await render(<Double n={2} />);
    await render(<Double n={2} enabled={false} />);
    expect(container.textContent).toBe('4');
    seen = [];
    await render(<Double n={2} />);
    expect(seen[0]).toMatchObject({ data: 4, pending: true });
    expect(container.textContent).toBe('4');
  });

  it('tells of args that JSON cannot say, and lets the component live', async () => {
    function Big({ n }: { n: unknown }) {
      const { error } = useCall(client as Client<any>, 'double', n);
      return <>{String(error)}</>;
    }
    await render(<Big n={10n} />);
    expect(container.textContent).toMatch(/BigInt/);
  });

  it('makes one call at a time, and one more for all refreshes meanwhile', async () => {
    const answers: ((n: number) => void)[] = [];
    server.handle('double', () => new Promise((resolve) => answers.push(resolve)));
    await render(<Double n={2} />);
    for (let i = 0; i < 3; i++) {
      await act(async () => seen.at(-1)!.refresh());
      await settle();
    }
    expect(answers.length).toBe(1);
    await act(async () => answers[0]!(1));
    await settle();
    expect(container.textContent).toBe('pending 1');
    expect(answers.length).toBe(2);
    await act(async () => answers[1]!(2));
    await settle();
    expect(container.textContent).toBe('2');
    expect(answers.length).toBe(2);
  });

  it('calls once in strict mode', async () => {
    const double = vi.fn((n: number) => n * 2);
    server.handle('double', double);
    client.connect();
    await settle();
    await render(createElement(StrictMode, null, <Double n={2} />));
    expect(container.textContent).toBe('4');
    expect(double).toHaveBeenCalledTimes(1);
  });

  it('calls again after a sign-in what was refused before', async () => {
    client.connect();
    await settle();
    server.disconnect(4400, 'sign in first');
    await settle();
    await render(<Double n={2} />);
    expect(container.textContent).toContain('sign in first');
    await act(async () => client.connect());
    await settle();
    expect(container.textContent).toBe('4');
  });

  it('tells the error, and calls again at refresh', async () => {
    let broken = true;
    server.handle('double', (n) => {
      if (broken) throw new Error('broken');
      return n;
    });
    await render(<Double n={3} />);
    expect(container.textContent).toBe('internal error');
    broken = false;
    await act(async () => seen.at(-1)!.refresh());
    await settle();
    expect(container.textContent).toBe('3');
    expect(seen.at(-1)!.error).toBeUndefined();
  });

  it('waits until it is enabled', async () => {
    await render(<Double n={2} enabled={false} />);
    expect(container.textContent).toBe('undefined');
    expect(server.connections).toBe(0);
    await render(<Double n={2} />);
    expect(container.textContent).toBe('4');
  });

  it('cancels what is no longer wanted', async () => {
    const aborted = vi.fn();
    server.handle('slow', (_, { signal }) => new Promise(() => signal.addEventListener('abort', aborted)));
    function Slow() {
      return <>{String(useCall(client, 'slow').pending)}</>;
    }
    await render(<Slow />);
    expect(container.textContent).toBe('true');
    await render(<></>);
    expect(aborted).toHaveBeenCalledTimes(1);
  });
});

describe('useSubscription', () => {
  let got: string[];
  let state: SubscriptionState;
  function News({ channel, prefix = '' }: { channel: 'news' | 'other' | null; prefix?: string }) {
    state = useSubscription(client, channel, ({ args }) => got.push(prefix + args));
    return null;
  }
  beforeEach(() => {
    got = [];
  });

  it('subscribes while mounted, and uses the newest handler', async () => {
    await render(<News channel="news" />);
    expect(state).toEqual({ ready: true, error: undefined });
    server.publish('news', 'a');
    await render(<News channel="news" prefix="new " />);
    server.publish('news', 'b');
    await settle();
    expect(got).toEqual(['a', 'new b']);
    await render(<></>);
    expect(server.subscriptions).toEqual([]);
  });

  it('follows the channel', async () => {
    await render(<News channel={null} />);
    expect(state.ready).toBe(false);
    expect(server.connections).toBe(0);
    await render(<News channel="news" />);
    await render(<News channel="other" />);
    expect(server.subscriptions).toEqual(['other']);
    expect(state.ready).toBe(true);
  });

  it('is not ready, nor refused, because the channel before was', async () => {
    const commits: string[] = [];
    function Watched({ channel }: { channel: string }) {
      const { ready, error } = useSubscription(client as Client<any>, channel, () => {});
      useLayoutEffect(() => void commits.push(`${channel} ${ready} ${error?.code}`));
      return null;
    }
    server.refuse('secret');
    for (const channel of ['news', 'secret', 'other']) await render(<Watched channel={channel} />);
    const told = [...new Set(commits)];
    expect(told).toEqual(['news false undefined', 'news true undefined', 'secret false undefined', 'secret false 403',
      'other false undefined', 'other true undefined']);
  });

  it('is one subscription in strict mode', async () => {
    await render(createElement(StrictMode, null, <News channel="news" />));
    expect(server.subscriptions).toEqual(['news']);
    server.publish('news', 'a');
    await settle();
    expect(got).toEqual(['a']);
  });

  it('passes gaps to the newest onGap', async () => {
    const onGap = vi.fn();
    function Gaps() {
      useSubscription(client, 'n*', () => {}, { pattern: true, onGap });
      return null;
    }
    await render(<Gaps />);
    server.disconnect();
    await settle();
    await settle();
    expect(onGap).toHaveBeenCalledExactlyOnceWith({ channel: 'n*', pattern: true, reason: 'reconnect' });
  });

  it('is ready in the end where the server takes its time', async () => {
    const script = new Script();
    const patient = new Client<App>('ws://test', { ...script.options, timeout: 1_000 });
    let state: SubscriptionState | undefined;
    function News() {
      state = useSubscription(patient, 'news', () => {});
      return null;
    }
    vi.useFakeTimers();
    const pass = (ms: number) => act(() => vi.advanceTimersByTimeAsync(ms));
    await act(async () => root.render(<News />));
    script.socket.hello().say({ type: 'NACK', for: '1', error: { code: 503, message: 'later', retry_after: 2_000 } });
    await pass(1_000);
    expect(state).toMatchObject({ ready: false, error: { code: 408 } });
    await pass(1_000);
    script.socket.say({ type: 'ACK', for: '2' });
    await pass(0);
    expect(state).toEqual({ ready: true, error: undefined });
    await patient.close();
  });

  it('tells why it cannot be, and recovers', async () => {
    client.connect();
    await settle();
    server.disconnect(4400, 'sign in first');
    await settle();
    await render(<News channel="news" />);
    expect(state).toMatchObject({ ready: false, error: { code: 4400, message: 'sign in first' } });
    await act(async () => client.connect());
    await settle();
    expect(state).toEqual({ ready: true, error: undefined });
    server.publish('news', 'a');
    await settle();
    expect(got).toEqual(['a']);
  });

  it('comes back on the next connection where the server refused it', async () => {
    const onError = vi.fn();
    function Guarded() {
      state = useSubscription(client, 'news', ({ args }) => got.push(args), { onError });
      return null;
    }
    server.refuse('news', { code: 403, message: 'members only' });
    await render(<Guarded />);
    expect(state).toMatchObject({ ready: false, error: { code: 403, message: 'members only' } });
    server.allow('news');
    server.disconnect();
    await settle();
    await settle();
    expect(state).toEqual({ ready: true, error: undefined });
    expect(onError).toHaveBeenCalledTimes(1);
    server.publish('news', 'a');
    await settle();
    expect(got).toEqual(['a']);
  });
});
