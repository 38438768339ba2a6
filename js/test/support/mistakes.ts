// Mistakes that plain JavaScript, or `any`, lets through: each harms itself only.
import type { Client } from '../../src/index.js';

function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let i = 0; i < depth; i++) value = [value];
  return value;
}

const cyclic: Record<string, unknown> = {};
cyclic['self'] = cyclic;

const names: unknown[] = [undefined, null, 7, '', {}, [], Symbol('x'), () => 1, 1n, 'half a \ud800 pair'];

const args: [string, unknown][] = [
  ['a bigint', 1n],
  ['a bigint in an object', { a: 1n }],
  ['a cycle', cyclic],
  ['a function', () => 1],
  ['a function in an object', { a: () => 1 }],
  ['a symbol', Symbol('x')],
  ['a symbol in an array', [Symbol('x')]],
  ['undefined in an array', [1, undefined]],
  ['toJSON() that says nothing', { toJSON() {} }],
  ['toJSON() that throws', { toJSON() { throw new Error('oops'); } }],
  ['10,000 arrays in each other', nested(10_000)],
  ['a million arrays in each other', nested(1_000_000)],
];

const options: [string, unknown][] = [
  ['a number', 5_000],
  ['a timeout that is text', { timeout: '5000' }],
  ['a timeout of NaN', { timeout: NaN }],
  ['a timeout of 0', { timeout: 0 }],
  ['an infinite timeout', { timeout: Infinity }],
  ['an AbortController for a signal', { signal: new AbortController() }],
  ['a function for headers', { headers: () => 1 }],
  ['a symbol for headers', { headers: Symbol('x') }],
  ['text for headers', { headers: 'a: b' }],
  ['an array for headers', { headers: [['a', 'b']] }],
  ['a Map for headers', { headers: new Map([['a', 'b']]) }],
  ['Headers, which JSON would lose', { headers: new Headers({ a: 'b' }) }],
  ['a number in headers', { headers: { a: 1 } }],
  ['null in headers', { headers: { a: null } }],
  ['toJSON() in headers', { headers: { toJSON() {} } }],
];

/** Each makes one mistake; what it gives rejects. */
export const mistakes: [string, (client: Client<any>) => Promise<unknown>][] = [
  ...names.flatMap((name): typeof mistakes => [
    [`call(${String(name)})`, (client) => client.call(name as string)],
    [`publish(${String(name)})`, (client) => client.publish(name as string, 1)],
    [`subscribe(${String(name)})`, (client) => client.subscribe(name as string, () => {}).ready],
  ]),
  ...args.flatMap(([what, value]): typeof mistakes => [
    [`call with ${what}`, (client) => client.call('test.echo', value)],
    [`publish ${what}`, (client) => client.publish('c', value)],
  ]),
  ...options.flatMap(([what, value]): typeof mistakes => [
    [`call with ${what}`, (client) => client.call('test.echo', 1, value as object)],
    [`publish with ${what}`, (client) => client.publish('c', 1, value as object)],
  ]),
  ['subscribe with a number', (client) => client.subscribe('c', 7 as never).ready],
  ['subscribe with text for a handler', (client) => client.subscribe('c', {}, 'handler' as never).ready],
  ['subscribe with text for onGap', (client) => client.subscribe('c', { onGap: 'reload' as never }).ready],
  ['subscribe with a buffer of NaN', (client) => client.subscribe('c', { buffer: NaN }).ready],
  ['subscribe with no signal', (client) => client.subscribe('c', { signal: {} as never }).ready],
];
