// What the compiler has to know, and to refuse. Never run: `npm run check` compiles it.
import { expectTypeOf } from 'vitest';
import { Client, CoreClient, members, onServer, stream, withKey, withServer, withState, type Attached, type Gap, type JugglerError, type JugglerEvent, type Made, type Member, type MembersChange, type State, type Stream, type Subscription } from '../src/index.js';
import { useCall, useChannelState, useConnection, useMembers, useStream, useSubscription, type CallState, type ChannelState, type StreamState } from '../src/react.js';
import { MockServer } from '../src/testing.js';

interface Article {
  title: string;
}

interface App {
  calls: {
    'math.add': (args: [number, number]) => number;
    'time.now': () => string;
    'users.find': (args?: { limit: number }) => Promise<string[]>;
    'ai.answer': (question: string) => AsyncGenerator<string, { words: number }>;
    [uri: `plugin.${string}`]: (args: { x: number }) => boolean;
  };
  channels: {
    'news.go': Article;
    'news.rust': { crate: string };
    alerts: string;
    [channel: `user.${string}`]: { online: boolean };
  };
}

export async function calls(client: Client<App>): Promise<void> {
  expectTypeOf(await client.call('math.add', [1, 2])).toEqualTypeOf<number>();
  expectTypeOf(await client.call('math.add', [1, 2], { timeout: 5 })).toEqualTypeOf<number>();
  expectTypeOf(await client.call('time.now')).toEqualTypeOf<string>();
  expectTypeOf(await client.call('time.now', undefined, { idempotent: true })).toEqualTypeOf<string>();
  expectTypeOf(await client.call('users.find')).toEqualTypeOf<string[]>();
  expectTypeOf(await client.call('users.find', { limit: 1 })).toEqualTypeOf<string[]>();
  expectTypeOf(await client.call('plugin.any', { x: 1 })).toEqualTypeOf<boolean>();

  // @ts-expect-error no such URI
  await client.call('math.sub', [1, 2]);
  // @ts-expect-error args are required
  await client.call('math.add');
  // @ts-expect-error wrong args
  await client.call('math.add', [1, '2']);
  // @ts-expect-error this URI takes none
  await client.call('time.now', 1);
  // @ts-expect-error options are not args
  await client.call('time.now', { timeout: 5 });
  // @ts-expect-error no such option
  await client.call('math.add', [1, 2], { timeOut: 5 });
}

export async function streams(client: Client<App>, untyped: Client): Promise<void> {
  const answer = stream(client, 'ai.answer', 'Why?', { parts: 5, timeout: 5 });
  expectTypeOf(answer).toEqualTypeOf<Stream<string, { words: number }>>();
  for await (const part of answer) expectTypeOf(part).toEqualTypeOf<string>();
  expectTypeOf(await answer.result).toEqualTypeOf<{ words: number }>();
  expectTypeOf(await client.call('ai.answer', 'Why?')).toEqualTypeOf<{ words: number }>();
  expectTypeOf(stream(client, 'time.now')).toEqualTypeOf<Stream<unknown, string>>();
  expectTypeOf(stream(untyped, 'any', 1)).toEqualTypeOf<Stream<unknown, unknown>>();

  // @ts-expect-error no such URI
  stream(client, 'ai.ask', 'Why?');
  // @ts-expect-error wrong args
  stream(client, 'ai.answer', 7);
  // @ts-expect-error no such option
  stream(client, 'ai.answer', 'Why?', { part: 7 });
  // @ts-expect-error of streams only
  await client.call('ai.answer', 'Why?', { parts: 7 });
}

export async function keys(client: Client<App>): Promise<void> {
  const { signal } = new AbortController();
  const options = { timeout: 5, signal, stop: signal, since: 0, onAttach: (attached: Attached) => expectTypeOf(attached.state).toEqualTypeOf<'new' | 'running' | 'done'>() };
  expectTypeOf(await client.call('math.add', [1, 2], withKey('k', options))).toEqualTypeOf<number>();
  expectTypeOf(stream(client, 'ai.answer', 'Why?', withKey('k', { parts: 5 }))).toEqualTypeOf<Stream<string, { words: number }>>();
  withKey('k', { onAttach: ({ from }) => expectTypeOf(from).toEqualTypeOf<number | undefined>() });

  // @ts-expect-error wrong args
  await client.call('math.add', [1, '2'], withKey('k'));
  // @ts-expect-error a key without withKey would do nothing
  await client.call('math.add', [1, 2], { key: 'k' });
  // @ts-expect-error it is made once, whatever happens
  withKey('k', { idempotent: false });
  // @ts-expect-error no such option
  withKey('k', { sinse: 0 });
  // @ts-expect-error there is no key
  withKey();
  useCall(client, 'math.add', [1, 2], withKey('k'));
  useStream(client, 'ai.answer', 'Why?', { ...withKey('k', { since: 0 }), enabled: false });
}

export async function channels(client: Client<App>): Promise<void> {
  await client.publish('news.go', { title: 'x' });
  await client.publish('user.7', { online: true });
  // @ts-expect-error wrong args
  await client.publish('news.go', { titel: 'x' });
  // @ts-expect-error no such channel
  await client.publish('weather', 1);

  client.subscribe('news.go', (event) => {
    expectTypeOf(event).toEqualTypeOf<JugglerEvent<Article, 'news.go'>>();
    // @ts-expect-error events are shared by all handlers
    event.args = { title: 'y' };
  });
  client.subscribe('user.7', { onGap: (gap) => expectTypeOf(gap).toEqualTypeOf<Gap>() }, ({ args, channel }) => {
    expectTypeOf(args).toEqualTypeOf<{ online: boolean }>();
    expectTypeOf(channel).toEqualTypeOf<'user.7'>();
  });
  // @ts-expect-error no such channel
  client.subscribe('weather', () => {});

  for await (const event of client.subscribe('alerts')) expectTypeOf(event.args).toEqualTypeOf<string>();

  // A pattern gives the events of all the channels it may match, told apart by their channel.
  client.subscribe('news.*', { pattern: true }, (event) => {
    expectTypeOf(event.channel).toEqualTypeOf<'news.go' | 'news.rust'>();
    if (event.channel === 'news.go') expectTypeOf(event.args).toEqualTypeOf<Article>();
    else expectTypeOf(event.args).toEqualTypeOf<{ crate: string }>();
  });
  client.subscribe('user.*', { pattern: true }, ({ args }) => expectTypeOf(args).toEqualTypeOf<{ online: boolean }>());
  client.subscribe('user.7.*', { pattern: true }, ({ args }) => expectTypeOf(args).toEqualTypeOf<{ online: boolean }>());
  client.subscribe('weather.*', { pattern: true }, ({ args }) => expectTypeOf(args).toEqualTypeOf<unknown>());
  client.subscribe('news.[gr]*', { pattern: true }, ({ channel }) => {
    expectTypeOf(channel).toEqualTypeOf<'news.go' | 'news.rust' | 'alerts' | `user.${string}`>();
  });
}

export async function server(client: Client<App>, core: CoreClient<App>): Promise<void> {
  client.subscribe('news.go', withServer(), ({ args }) => expectTypeOf(args).toEqualTypeOf<Article>());
  client.subscribe('user.7', withServer({ own: true, onGap: ({ own }) => expectTypeOf(own).toEqualTypeOf<true | undefined>() }), ({ args }) => expectTypeOf(args).toEqualTypeOf<{ online: boolean }>());
  client.subscribe('news.*', withServer({ pattern: true }), ({ channel }) => expectTypeOf(channel).toEqualTypeOf<'news.go' | 'news.rust'>());
  client.subscribe('news.go', withState(async () => {}, withServer({ own: true })), () => {});
  core.subscribe('news.go', withServer(), ({ args }) => expectTypeOf(args).toEqualTypeOf<Article>());
  onServer(core, (made) => expectTypeOf(made).toEqualTypeOf<Made>())();
  onServer(new Client('ws://x'), ({ channel, own }) => new Client('ws://x').subscribe(channel, withServer({ own })));
  useSubscription(client, 'news.go', ({ args }) => expectTypeOf(args).toEqualTypeOf<Article>(), withServer({ own: true }));

  // @ts-expect-error of what the server makes
  client.subscribe('news.go', { own: true }, () => {});
  // @ts-expect-error it is not asked for
  withServer({ last: 5 });
  // @ts-expect-error no such channel
  client.subscribe('weather', withServer(), () => {});
}

export async function present(client: Client<App>, core: CoreClient<App>): Promise<void> {
  const room = members<{ name: string }>(client, 'news.go', { onReady: () => {} }, (change) => expectTypeOf(change).toEqualTypeOf<MembersChange<{ name: string }>>());
  expectTypeOf(room.members).toEqualTypeOf<readonly Member<{ name: string }>[] | undefined>();
  expectTypeOf(room.count).toEqualTypeOf<number | undefined>();
  for await (const { join, leave } of members(core, 'weather')) {
    expectTypeOf(join).toEqualTypeOf<readonly Member[]>();
    expectTypeOf(leave).toEqualTypeOf<readonly string[]>();
  }
  expectTypeOf(useMembers<{ name: string }>(client, null).members?.[0]?.info).toEqualTypeOf<{ name: string } | undefined>();

  // @ts-expect-error not of patterns
  members(client, 'news.*', { pattern: true });
  // @ts-expect-error no such option
  members(client, 'news.go', { onHere: () => {} });
}

export async function untyped(): Promise<void> {
  const client = new Client('ws://x');
  expectTypeOf(await client.call('anything', { at: 'all' })).toEqualTypeOf<unknown>();
  expectTypeOf(client.subscribe('anything')).toEqualTypeOf<Subscription<JugglerEvent<unknown, 'anything'>>>();
  await client.publish('anything', 1);
  expectTypeOf(client.connect).toEqualTypeOf<() => void>();
}

export function states(client: Client, state: State): void {
  switch (state.status) {
    case 'open':
      expectTypeOf(state.session).toEqualTypeOf<string>();
      break;
    case 'waiting':
      expectTypeOf(state.retryAt).toEqualTypeOf<number>();
      break;
    case 'closed':
      expectTypeOf(state.error).toEqualTypeOf<JugglerError | undefined>();
      break;
    default:
      expectTypeOf(state).toEqualTypeOf<{ readonly status: 'connecting' }>();
  }
  client.on('state', (now) => expectTypeOf(now).toEqualTypeOf<State>());
  client.on('refused', (error) => expectTypeOf(error).toEqualTypeOf<JugglerError>());
  // @ts-expect-error no such event
  client.on('open', () => {});
  // @ts-expect-error the state changes by itself only
  client.state = state;
}

export function hooks(client: Client<App>): void {
  expectTypeOf(useConnection(client)).toEqualTypeOf<State>();
  expectTypeOf(useCall(client, 'math.add', [1, 2])).toEqualTypeOf<CallState<number>>();
  expectTypeOf(useCall(client, 'time.now').data).toEqualTypeOf<string | undefined>();
  // @ts-expect-error wrong args
  useCall(client, 'math.add', ['1', 2]);
  // @ts-expect-error args are required
  useCall(client, 'math.add');
  // @ts-expect-error its signal is the hook's own
  useCall(client, 'math.add', [1, 2], { signal: AbortSignal.timeout(1) });
  expectTypeOf(useStream(client, 'ai.answer', 'Why?', { parts: 5 })).toEqualTypeOf<StreamState<string, { words: number }>>();
  // @ts-expect-error wrong args
  useStream(client, 'ai.answer', 7);
  // @ts-expect-error its signal is the hook's own
  useStream(client, 'ai.answer', 'Why?', { signal: AbortSignal.timeout(1) });
  useSubscription(client, 'news.go', ({ args }) => expectTypeOf(args).toEqualTypeOf<Article>());
  useSubscription(client, null, () => {});
  useSubscription(client, 'user.*', ({ args }) => expectTypeOf(args).toEqualTypeOf<{ online: boolean }>(), { pattern: true });
  // @ts-expect-error no such channel
  useSubscription(client, 'weather', () => {});
  // @ts-expect-error it ends with the component
  useSubscription(client, 'news.go', () => {}, { signal: AbortSignal.timeout(1) });
  const sum = useChannelState(client, 'news.go', {
    uri: 'math.add',
    args: [1, 2],
    apply: (sum, { args }) => {
      expectTypeOf(sum).toEqualTypeOf<number>();
      expectTypeOf(args).toEqualTypeOf<Article>();
      return sum + 1;
    },
  });
  expectTypeOf(sum).toEqualTypeOf<ChannelState<number>>();
  useChannelState(client, 'news.go', { uri: 'time.now' });
  useChannelState(client, 'user.*', {
    pattern: true,
    uri: 'time.now',
    apply: (_, { args }) => (args.online ? 'now' : undefined),
  });
  // @ts-expect-error args are required
  useChannelState(client, 'news.go', { uri: 'math.add' });
  // @ts-expect-error wrong args
  useChannelState(client, 'news.go', { uri: 'math.add', args: ['1', 2] });
  // @ts-expect-error not a state
  useChannelState(client, 'news.go', { uri: 'time.now', apply: () => 1 });
  // @ts-expect-error no such channel
  useChannelState(client, 'weather', { uri: 'time.now' });
  // @ts-expect-error reading has to be repeatable
  useChannelState(client, 'news.go', { uri: 'time.now', idempotent: false });
}

export function mock(): void {
  const server = new MockServer<App>();
  server.handle('math.add', ([a, b]) => a + b).handle('users.find', async () => ['x']);
  // @ts-expect-error wrong result
  server.handle('math.add', () => 'x');
  server.handle('ai.answer', async function* (question) {
    expectTypeOf(question).toEqualTypeOf<string>();
    yield 'Once';
    return { words: 1 };
  });
  server.handle('ai.answer', () => ({ words: 0 }));
  // @ts-expect-error wrong parts
  server.handle('ai.answer', async function* () {
    yield 1;
    return { words: 1 };
  });
  server.publish('alerts', 'fire');
  // @ts-expect-error wrong args
  server.publish('alerts', 1);
  server.refuse('math.add', { code: 429, retryAfter: 100, times: 1 }).allow('math.add');
  // @ts-expect-error it is retryAfter here
  server.refuse('math.add', { retry_after: 100 });
}
