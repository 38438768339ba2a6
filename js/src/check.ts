// Checks of what applications pass. A mistake of theirs must not leave: the
// server would close the connection, which all the others need.
import { shown } from './guard.js';
import type { ClientOptions, RequestOptions, SubscribeOptions } from './types.js';

/** How deep a server takes a message, its own braces included. */
const MAX_DEPTH = 512;

/** What args have to be. */
const SAYABLE = 'what JSON can say';

/** What is wanted, as errors say it, and what tells whether a value is that. */
type Kind = readonly [want: string, is: (value: any) => unknown];

const code: Kind = ['a function', (value) => typeof value === 'function'];
const object: Kind = ['an object', (value) => typeof value === 'object' && value];
const string: Kind = ['a string', (value) => typeof value === 'string'];
/** Infinity is not in JSON, and no time that a timer can hold. */
const time: Kind = ['finite milliseconds above 0', (value) => typeof value === 'number' && value > 0 && value < Infinity];
const count: Kind = ['a number, 0 or more', (value) => typeof value === 'number' && value >= 0];
const signal: Kind = ['an AbortSignal', (value) => !value || code[1](value.addEventListener)];
const headers: Kind = ['an object of strings', (value) => !value || shown(value) === '[object Object]'];

/** Half of a surrogate pair would arrive as another character. */
const text = (orWhat = ''): Kind => [
  `a string that is not empty${orWhat}`,
  (value) => typeof value === 'string' && value && !/[\ud800-\udfff]/u.test(value),
];

/** Throws, unless a value is of a kind. */
function check(what: string, value: unknown, [want, is]: Kind): void {
  if (!is(value)) fail(what, want, value);
}

function fail(what: string, want: string, value: unknown): never {
  throw new (typeof value === 'number' ? RangeError : TypeError)(`${what}: want ${want}, not ${shown(value)}`);
}

/** Checks the members of an object that has any. */
function checkMembers(what: string, members: object | null | undefined, kind: Kind): void {
  for (const [key, value] of Object.entries(members ?? {})) if (value !== undefined) check(`${what}.${key}`, value, kind);
}

/** What options have to be, whatever takes them. */
const kinds: Record<string, Kind> = {
  auth: code,
  backoff: object,
  buffer: count,
  connectTimeout: time,
  headers,
  logger: code,
  onError: code,
  onGap: code,
  onReady: code,
  queueLimit: count,
  queueSize: count,
  signal,
  timeout: time,
  WebSocket: code,
};

function checkOptions(options: ClientOptions | RequestOptions | SubscribeOptions): void {
  check('options', options, object);
  for (const option in kinds) {
    const value = options[option as never];
    if (value !== undefined) check(option, value, kinds[option]!);
  }
}

/** Where a client connects to, and how. */
export function checkClient(url: unknown, options: ClientOptions): void {
  if (typeof url !== 'function') checkUrl(url);
  checkOptions(options);
  checkMembers('backoff', options.backoff, time);
}

export const checkUrl = (url: unknown): void => check('url', url, text(', or a function that gives one'));

export function checkToken(token: unknown): void {
  if (token != null) check('what auth() gives', token, text(', or null'));
}

export const checkFunction = (what: string, value: unknown): void => check(what, value, code);

export function checkSubscription(channel: unknown, options: SubscribeOptions, handler: unknown): void {
  check('channel', channel, text());
  checkOptions(options);
  if (handler !== undefined) check('handler', handler, code);
}

/** `key` is what its name is called. */
export function checkRequest(key: string, name: unknown, args: unknown, options: RequestOptions): void {
  check(key, name, text());
  checkOptions(options);
  checkMembers('headers', options.headers, string);
  // JSON says best what is wrong with a circle or a BigInt.
  if (JSON.stringify(args) === undefined && args !== undefined) fail('args', SAYABLE, undefined);
  checkArgs(args);
}

/** Functions, symbols, and in arrays undefined, JSON leaves out, or writes null in their place. */
function checkArgs(value: unknown, key = '', inArray = false, depth = 1): void {
  const type = typeof value;
  const what = key ? `args, at ${key}` : 'args';
  if (type === 'function' || type === 'symbol' || (inArray && type === 'undefined')) fail(what, SAYABLE, value);
  if (type !== 'object' || !value) return;
  if (depth === MAX_DEPTH) fail(what, 'less nesting', depth);
  if ('toJSON' in (value as object)) return;
  for (const member of Object.keys(value)) checkArgs(value[member as never], member, Array.isArray(value), depth + 1);
}
