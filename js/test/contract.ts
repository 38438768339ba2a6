// What the compiler makes of a module that `juggler contract ts` has written, with the client.
// Never run: `npm run check` compiles it.
import { expectTypeOf } from 'vitest';
import type { App as Hostile } from '../../contract/testdata/hostile.js';
import type { App, Comment, Order, PageOrder, Placed, Progress } from '../../contract/testdata/shop.js';
import { Client, stream, type JugglerEvent, type Stream } from '../src/index.js';

declare const client: Client<App>;
declare const order: Order;

export async function calls(): Promise<void> {
  expectTypeOf(await client.call('orders.place', order)).toEqualTypeOf<Placed>();
  expectTypeOf(await client.call('orders.list')).toEqualTypeOf<PageOrder>();
  expectTypeOf(await client.call('orders.list', { limit: 7 })).toEqualTypeOf<PageOrder>();
  expectTypeOf(await client.call('orders.list', null)).toEqualTypeOf<PageOrder>();
  expectTypeOf(await client.call('time.now')).toEqualTypeOf<string>();
  expectTypeOf(await client.call('it\'s `${any}` \\ "\u2028\n', [1])).toEqualTypeOf<unknown>();
  expectTypeOf(stream(client, 'ai.words', 'Why?')).toEqualTypeOf<Stream<string, null>>();
  expectTypeOf(stream(client, 'report.make', '2026')).toEqualTypeOf<Stream<Progress, { [key: string]: boolean } | null>>();

  // @ts-expect-error no such URI
  await client.call('orders.plaice', order);
  // @ts-expect-error args are required
  await client.call('orders.place');
  // @ts-expect-error it takes none
  await client.call('time.now', {});
  // @ts-expect-error no such member
  await client.call('orders.list', { limits: 7 });
  // @ts-expect-error of another type
  await client.call('orders.list', { limit: '7' });
  // @ts-expect-error no such color
  await client.call('orders.place', { ...order, color: 'blue' });
  // @ts-expect-error there are two
  await client.call('orders.place', { ...order, size: [1] });
  // @ts-expect-error it may be null
  order.note.length;
  // @ts-expect-error it may be left out
  order.comment.text;
  order.comment?.answers?.[0]?.answers?.[0]?.text satisfies string | undefined;
  order['weird name']?.['x']?.[0] satisfies number | undefined;
}

export async function channels(): Promise<void> {
  client.subscribe('orders.all', (event) => expectTypeOf(event).toEqualTypeOf<JugglerEvent<Order, 'orders.all'>>());
  client.subscribe('orders.7.comments', ({ args }) => expectTypeOf(args).toEqualTypeOf<Comment>());
  client.subscribe('orders.*.comments', { pattern: true }, ({ args }) => expectTypeOf(args).toEqualTypeOf<Comment>());
  // A name that goes on where another one ends: what matches both is of the longer one.
  client.subscribe('user.ann', ({ args }) => expectTypeOf(args).toEqualTypeOf<string | Progress>());
  client.subscribe('user.ann.`$7`', ({ args }) => expectTypeOf(args.Done).toEqualTypeOf<number>());
  await client.publish('orders.7.comments', { text: 'good', answers: null });

  // @ts-expect-error no such channel
  client.subscribe('orders.7', () => {});
  // @ts-expect-error of another type
  await client.publish('orders.7.comments', { text: 7, answers: [] });
  // @ts-expect-error a member is missing
  await client.publish('orders.7.comments', { text: 'good' });
}

export async function hostile(client: Client<Hostile>): Promise<void> {
  expectTypeOf(await client.call('')).toEqualTypeOf<"'" | '\\' | '\n' | 1 | -2.5 | true>();
  expectTypeOf((await client.call("'];//"))[0]).toEqualTypeOf<string | number[] | undefined>();
  await client.call('__proto__', { ['__proto__']: 'x', '*/': 'x', "'\\": 'x', '': 'x', 7: 'x', constructor: 'x' });
  await client.call('constructor', [[]]);
  client.subscribe('a.`$b\\', ({ args }) => expectTypeOf(args).toEqualTypeOf<null>());
}
