// @vitest-environment happy-dom
// The hook that shows an answer in parts.
import { StrictMode, act, type ReactElement } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client, JugglerError, withKey } from '../../src/index.js';
import { useStream, type StreamState } from '../../src/react.js';
import { MockServer } from '../../src/testing.js';

interface App {
  calls: { count: (name: string) => AsyncGenerator<number, string> };
  channels: Record<string, never>;
}

/** A call as the callee sees it: the test says what it sends. */
interface Callee {
  name: string;
  signal: AbortSignal;
  send: (part: number | string) => void;
  fail: (error: JugglerError) => void;
}

let server: MockServer<App>;
let client: Client<App>;
let root: Root;
let callees: Callee[];
let seen: StreamState<number, string>[];

beforeEach(() => {
  (globalThis as any).IS_REACT_ACT_ENVIRONMENT = true;
  vi.useFakeTimers();
  [callees, seen] = [[], []];
  server = new MockServer<App>().handle('count', async function* (name, { signal }) {
    const waiting: (number | string | JugglerError)[] = [];
    let wake = (): void => {};
    const add = (item: number | string | JugglerError): void => (waiting.push(item), wake());
    callees.push({ name, signal, send: add, fail: add });
    for (;;) {
      while (waiting.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      const next = waiting.shift()!;
      if (next instanceof JugglerError) throw next;
      if (typeof next === 'string') return next;
      yield next;
    }
  });
  client = new Client<App>('ws://mock', { WebSocket: server.WebSocket, logger: () => {}, backoff: { max: 1 } });
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
const shown = (): StreamState<number, string> => seen.at(-1)!;
const callee = (): Callee => callees.at(-1)!;

function Count({ name = 'a', of = client, enabled = true }: { name?: string; of?: Client<App>; enabled?: boolean }) {
  const state = useStream(of, 'count', name, { enabled, parts: 4 });
  seen.push(state);
  return <>{state.pending ? '…' : state.parts.join()}</>;
}

describe('useStream', () => {
  it('shows the parts as they come, then the result', async () => {
    await render(<Count />);
    expect(seen[0]).toMatchObject({ parts: [], result: undefined, error: undefined, pending: true });
    callee().send(1);
    await elapse(16);
    expect(shown()).toMatchObject({ parts: [1], pending: true });
    callee().send(2);
    callee().send('all');
    await elapse();
    expect(shown()).toMatchObject({ parts: [1, 2], result: 'all', error: undefined, pending: false });
  });

  it('renders once for what comes together, beyond a window too', async () => {
    await render(<Count />);
    const before = seen.length;
    for (let n = 1; n <= 100; n++) {
      callee().send(n);
      await vi.advanceTimersByTimeAsync(0); // each in a message of its own
    }
    await elapse(16);
    expect(shown().parts).toHaveLength(100);
    expect(seen.length - before).toBe(1);
    await elapse(1_000);
    expect(seen.length - before).toBe(1);
  });

  it('shows why the call failed, and what came before', async () => {
    await render(<Count />);
    callee().send(1);
    callee().fail(new JugglerError(422, 'no more', 'failed'));
    await elapse();
    expect(shown()).toMatchObject({ parts: [1], result: undefined, error: { code: 422 }, pending: false });
  });

  it('makes one call in StrictMode, and cancels it when the component goes', async () => {
    await render(<StrictMode><Count /></StrictMode>);
    expect(callees).toHaveLength(1);
    callee().send(1);
    await elapse(16);
    expect(shown().parts).toEqual([1]);
    await render(<></>);
    expect(callee().signal.aborted).toBe(true);
    const renders = seen.length;
    await elapse(100);
    expect(seen.length).toBe(renders);
  });

  it('stops, and shows at once what has come; and starts anew', async () => {
    await render(<Count />);
    callee().send(1);
    await vi.advanceTimersByTimeAsync(0);
    await act(async () => shown().stop());
    expect(shown()).toMatchObject({ parts: [1], result: undefined, error: undefined, pending: false });
    await elapse();
    expect(callee().signal.aborted).toBe(true);
    await act(async () => shown().stop());
    await act(async () => shown().restart());
    expect(shown()).toMatchObject({ parts: [], pending: true });
    await elapse();
    expect(callees).toHaveLength(2);
    callee().send(5);
    callee().send('all');
    await elapse();
    expect(shown()).toMatchObject({ parts: [5], result: 'all', pending: false });
    await act(async () => shown().restart());
    await elapse();
    expect(shown()).toMatchObject({ parts: [], result: undefined, pending: true });
    expect(shown().stop).toBe(seen[0]!.stop);
  });

  it('shows no parts for another question, of args or client', async () => {
    await render(<Count />);
    callee().send(1);
    await elapse(16);
    const first = callee();
    const from = seen.length;
    await render(<Count name="b" />);
    expect(first.signal.aborted).toBe(true);
    expect(seen.slice(from).flatMap(({ parts }) => parts)).toEqual([]);
    expect(callee().name).toBe('b');
    const other = new Client<App>('ws://mock', { WebSocket: server.WebSocket });
    await render(<Count name="b" of={other} />);
    expect(callees).toHaveLength(3);
    await act(() => other.close());
  });

  it('calls while it is enabled', async () => {
    await render(<Count enabled={false} />);
    expect([callees.length, shown().pending]).toEqual([0, false]);
    await act(async () => (shown().stop(), shown().restart()));
    await render(<Count />);
    callee().send(1);
    await elapse(16);
    expect(shown()).toMatchObject({ parts: [1], pending: true });
    await render(<Count enabled={false} />);
    expect([callee().signal.aborted, shown().pending]).toEqual([true, false]);
  });

  it('comes back on the next connection where the server refused it', async () => {
    server.refuse('count', { code: 403 });
    await render(<Count />);
    expect(shown()).toMatchObject({ parts: [], error: { code: 403 }, pending: false });
    server.allow('count');
    server.disconnect();
    await elapse(10);
    callee().send('all');
    await elapse();
    expect(shown()).toMatchObject({ result: 'all', error: undefined, pending: false });
  });

  it('renders on a server, where it calls nothing', () => {
    expect(renderToString(<Count />)).toBe('…');
    expect(client.state.status).toBe('closed');
  });
});

describe('useStream with a key', () => {
  function Keyed({ name = 'a', callKey = 'k' }: { name?: string; callKey?: string }) {
    const state = useStream(client, 'count', name, withKey(callKey));
    seen.push(state);
    return <>{state.parts.join()}</>;
  }

  it('goes on without the component, and is there again for the next', async () => {
    await render(<Keyed />);
    callee().send(1);
    await elapse(16);
    await render(<></>);
    expect(callee().signal.aborted).toBe(false);
    callee().send(2);
    await render(
      <StrictMode>
        <Keyed />
      </StrictMode>,
    );
    await elapse(16);
    expect(shown()).toMatchObject({ parts: [1, 2], pending: true });
    server.cut();
    callee().send(3);
    callee().send('all');
    await elapse(20);
    expect(shown()).toMatchObject({ parts: [1, 2, 3], result: 'all', pending: false });
    expect(callees).toHaveLength(1);
  });

  it('is another answer with another key', async () => {
    await render(<Keyed />);
    callee().send(1);
    await elapse(16);
    seen.length = 0;
    await render(<Keyed callKey="other" />);
    expect(seen[0]).toMatchObject({ parts: [], pending: true });
    expect(callees).toHaveLength(2);
    expect(callees[0]!.signal.aborted).toBe(false);
  });
});
