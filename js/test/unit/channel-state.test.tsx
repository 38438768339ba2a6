// @vitest-environment happy-dom
// The hook that reads a state and follows it.
import { Component, StrictMode, act, createElement, useLayoutEffect, type ReactElement, type ReactNode } from 'react';
import { createRoot, type Root } from 'react-dom/client';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Client } from '../../src/index.js';
import { useChannelState, type ChannelState } from '../../src/react.js';
import { MockServer } from '../../src/testing.js';

type Room = string[];

interface App {
  calls: { 'room.get': (room: string) => Room };
  channels: { [room: `room.${string}`]: string };
}

let server: MockServer<App>;
let client: Client<App>;
let root: Root;
let container: HTMLElement;
/** The truth, and how often it was read. */
let lines: Room;
let reads: number;
let state: ChannelState<Room>;
let commits: string[];

const append = (room: Room, { args }: { args: string }): Room => (room.includes(args) ? room : [...room, args]);
const say = (line: string): void => {
  lines = [...lines, line];
  server.publish('room.a', line);
};

interface Props {
  room?: string | null;
  apply?: ((room: Room, event: { args: string }) => Room | undefined) | undefined;
  onGap?: () => void;
}

function Lines({ room = 'a', apply = append, onGap }: Props) {
  state = useChannelState(client, room === null ? null : `room.${room}`, { uri: 'room.get', args: room ?? '', apply, onGap });
  const { data, error, pending } = state;
  const shown = [pending ? 'pending' : '', data?.join(), error?.message].filter(Boolean).join(' ');
  useLayoutEffect(() => void commits.push(shown));
  return <>{shown}</>;
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }); // React keeps the others that it finds first
  (globalThis as any).IS_REACT_ACT_ENVIRONMENT = true;
  lines = ['1'];
  reads = 0;
  commits = [];
  server = new MockServer<App>().handle('room.get', () => (reads++, lines));
  client = new Client<App>('ws://mock', { WebSocket: server.WebSocket, logger: () => {}, backoff: { max: 1 } });
  container = document.createElement('div');
  root = createRoot(container);
});

afterEach(async () => {
  await act(async () => root.unmount());
  await client.close();
  expect(vi.getTimerCount()).toBe(0);
  vi.useRealTimers();
});

const pass = (ms = 2): Promise<unknown> => act(() => vi.advanceTimersByTimeAsync(ms));
const render = async (element: ReactElement): Promise<void> => {
  await act(async () => root.render(element));
  await pass();
};
/** Has reads wait until they are answered, each with what the truth was when it was made, or with an error. */
function answerByHand(): ((error?: object) => void)[] {
  const answers: ((error?: object) => void)[] = [];
  server.handle('room.get', () => {
    const then = lines;
    return new Promise((resolve, reject) => answers.push((error) => (error ? reject(error) : resolve(then))));
  });
  return answers;
}

describe('a state and its events', () => {
  it('is read once it is subscribed to, then follows', async () => {
    const subscribed: string[][] = [];
    server.handle('room.get', () => (subscribed.push(server.subscriptions), lines));
    await render(<Lines />);
    expect(subscribed).toEqual([['room.a']]);
    say('2');
    await pass();
    say('3');
    await pass();
    expect(commits).toEqual(['pending', '1', '1,2', '1,2,3']);
    await render(<></>);
    expect(server.subscriptions).toEqual([]);
  });

  it('is read again after a reconnection only if events are missing', async () => {
    server = new MockServer<App>({ history: { 'room.*': 10 } }).handle('room.get', () => (reads++, lines));
    client = new Client<App>('ws://mock', { WebSocket: server.WebSocket, logger: () => {}, backoff: { max: 1 } });
    await render(<Lines />);
    for (const [line, forget] of [['2', false], ['3', true]] as const) {
      server.reachable = false;
      server.disconnect();
      await pass();
      say(line);
      if (forget) server.forget('room.a');
      server.reachable = true;
      await pass(10);
      expect([commits.at(-1), reads]).toEqual(forget ? ['1,2,3', 2] : ['1,2', 1]);
    }
  });

  it('loses and repeats nothing that happens while it is read', async () => {
    const answers = answerByHand();
    await render(<Lines />);
    say('2');
    say('3');
    await pass();
    answers[0]!();
    await pass();
    expect([...new Set(commits)]).toEqual(['pending', '1,2,3']);
    // An event right behind the answer, before anybody has seen that.
    await act(async () => state.refresh());
    await pass();
    answers[1]!();
    say('4');
    await pass();
    expect(container.textContent).toBe('1,2,3,4');
    expect(answers.length).toBe(2);
  });

  it.each<[string, Props['apply']]>([
    ['there is no function for it', undefined],
    ['the function does not know', () => undefined],
  ])('is read again after an event where %s, once for all that come meanwhile', async (_, apply) => {
    const answers = answerByHand();
    const Plain = () => {
      const { data, pending } = useChannelState(client, 'room.a', { uri: 'room.get', args: 'a', apply });
      return <>{`${pending} ${data}`}</>;
    };
    await render(<Plain />);
    for (const line of ['2', '3', '4']) say(line);
    await pass();
    answers[0]!();
    await pass();
    expect(container.textContent).toBe('true 1');
    answers[1]!();
    await pass();
    expect(container.textContent).toBe('false 1,2,3,4');
    expect(answers.length).toBe(2);
  });

  it('is read again where more events wait for a read than it keeps', async () => {
    const answers = answerByHand();
    await render(<Lines />);
    for (let i = 0; i < 1_500; i++) server.publish('room.a', String(i));
    await pass();
    answers[0]!();
    await pass();
    expect(state.pending).toBe(true);
    answers[1]!();
    await pass();
    expect(state).toMatchObject({ pending: false, data: ['1'] });
    expect(answers.length).toBe(2);
  });

  it('follows a pattern', async () => {
    const All = () => {
      const source = { uri: 'room.get', args: 'all', pattern: true } as const;
      const { data } = useChannelState(client, 'room.*', {
        ...source,
        apply: (rooms, { channel, args }) => [...rooms, `${channel} ${args}`],
      });
      return <>{data?.join()}</>;
    };
    await render(<All />);
    server.publish('room.b', 'x');
    await pass();
    expect(container.textContent).toBe('1,room.b x');
  });

  it('is that of what this render asks for', async () => {
    server.handle('room.get', async (room) => [room]);
    await render(<Lines />);
    commits = [];
    await render(<Lines room="b" />);
    expect([...new Set(commits)]).toEqual(['pending', 'b']);
    expect(server.subscriptions).toEqual(['room.b']);
    await render(<Lines room={null} />);
    expect(state).toMatchObject({ data: undefined, error: undefined, pending: false });
    expect(server.subscriptions).toEqual([]);
  });

  it('leaves nothing behind in strict mode, and asks once', async () => {
    const send = vi.spyOn(server.WebSocket.prototype as WebSocket, 'send');
    await render(createElement(StrictMode, null, <Lines />));
    const sent = send.mock.calls.map(([text]) => (JSON.parse(text as string) as { type: string }).type);
    expect(sent).toEqual(['SUB', 'CALL']);
    say('2');
    await pass();
    expect(container.textContent).toBe('1,2');
    await render(<></>);
    expect(server.subscriptions).toEqual([]);
  });
});

describe('where events may be missing', () => {
  it.each<[string, () => void]>([
    ['a gap', () => server.gap('room.a')],
    ['a reconnection', () => server.disconnect()],
  ])('it is read again: %s', async (_, lose) => {
    const onGap = vi.fn();
    await render(<Lines onGap={onGap} />);
    lines = ['1', '2']; // without an event
    lose();
    await pass();
    await pass();
    expect(container.textContent).toBe('1,2');
    expect(onGap).toHaveBeenCalledTimes(1);
    expect(reads).toBe(2);
  });

  it('it is not read again after a move to another node', async () => {
    await render(<Lines />);
    server.goAway();
    await pass(500);
    say('2');
    await pass();
    expect(container.textContent).toBe('1,2');
    expect(reads).toBe(1);
  });

  it('it is consistent though the connection is lost during the read', async () => {
    const answers = answerByHand();
    await render(<Lines />);
    server.disconnect();
    await pass();
    await pass();
    lines = ['1', '2']; // while nobody was subscribed
    while (state.pending) {
      answers.at(-1)!();
      await pass();
    }
    say('3');
    await pass();
    expect(container.textContent).toBe('1,2,3');
    expect(answers.length).toBe(3); // lost, repeated by the client, and once more because of the gap
  });
});

describe('failures', () => {
  it('that may pass are tried again with growing pauses, and at once after a reconnection', async () => {
    server.handle('room.get', () => (reads++, Promise.reject({ code: 503, message: 'busy' })));
    await render(<Lines />);
    expect(container.textContent).toBe('busy');
    for (const [pause, made] of [[1_000, 2], [1_000, 2], [1_000, 3], [3_000, 3], [1_000, 4]] as const) {
      await pass(pause);
      expect(reads).toBe(made);
    }
    server.handle('room.get', () => lines);
    server.disconnect();
    await pass();
    await pass();
    expect(container.textContent).toBe('1');
  });

  it('that stay are told, and ended by refresh', async () => {
    server.handle('room.get', () => (reads++, Promise.reject({ code: 422, message: 'no such room' })));
    await render(<Lines />);
    await pass(60_000);
    expect(reads).toBe(1);
    expect(container.textContent).toBe('no such room');
    server.handle('room.get', () => lines);
    await act(async () => state.refresh());
    await pass();
    expect(container.textContent).toBe('1');
  });

  it('of a later read leave the state, which goes on following', async () => {
    const answers = answerByHand();
    await render(<Lines />);
    answers[0]!();
    await pass();
    await act(async () => state.refresh());
    say('2');
    await pass();
    answers[1]!({ code: 422, message: 'not now' });
    await pass();
    expect(container.textContent).toBe('1,2 not now');
    say('3');
    await pass();
    expect(container.textContent).toBe('1,2,3 not now');
  });

  it('do not have a busy channel read in a hurry', async () => {
    server.handle('room.get', () => (reads++, Promise.reject({ code: 422, message: 'no' })));
    await render(<Lines />);
    for (let i = 0; i < 100; i++) {
      say(String(i));
      await pass(1);
    }
    expect(reads).toBe(1);
    await pass(1_000);
    expect(reads).toBe(2);
  });

  it('of the subscription are told, and over after a sign-in', async () => {
    server.refuse('room.a', { code: 403, message: 'members only' });
    await render(<Lines />);
    expect(container.textContent).toBe('members only');
    expect(reads).toBe(0);
    await act(async () => state.refresh());
    await pass();
    expect(container.textContent).toBe('members only');
    server.allow('room.a');
    await client.close();
    await act(async () => client.connect());
    await pass();
    expect(container.textContent).toBe('1');
    say('2');
    await pass();
    expect(container.textContent).toBe('1,2');
  });

  it('of the subscription are over, too, once the server takes it', async () => {
    server.refuse('room.a', { code: 403, message: 'members only', times: 1 });
    await render(<Lines />);
    expect(container.textContent).toBe('members only');
    await pass(1_000);
    expect(container.textContent).toBe('1');
  });

  it('of the function for events reach the error boundary', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => {});
    class Boundary extends Component<{ children: ReactNode }> {
      override state = { caught: '' };
      static getDerivedStateFromError = (error: unknown) => ({ caught: String(error) });
      override render = () => this.state.caught || this.props.children;
    }
    const broken = () => {
      throw new Error('broken');
    };
    await render(<Boundary><Lines apply={broken} /></Boundary>);
    expect(container.textContent).toBe('1');
    say('2');
    await pass();
    expect(container.textContent).toBe('Error: broken');
    expect(server.subscriptions).toEqual([]);
  });
});
