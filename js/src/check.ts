// Checks of what applications pass. A mistake of theirs must not leave: the
// server would close the connection, which all the others need.
import { MAX_DEPTH } from './constants.js';
import { shown } from './guard.js';
import type { ClientOptions, RequestOptions, SubscribeOptions } from './types.js';

/** What is wanted, as errors say it; what tells whether a value is that; and what its members have to be. */
type Kind = readonly [want: string, is: (value: any) => unknown, memberOf?: (key: string) => Kind | undefined];

const code: Kind = ['a function', (value) => typeof value === 'function'];
const string: Kind = ['a string', (value) => typeof value === 'string'];
/** Infinity is not in JSON, and no time that a timer can hold. */
const time: Kind = ['finite milliseconds above 0', (value) => typeof value === 'number' && value > 0 && value < Infinity];
const count: Kind = ['a number, 0 or more', (value) => typeof value === 'number' && value >= 0];
const signal: Kind = ['an AbortSignal', (value) => !value || code[1](value.addEventListener)];
const json: Kind = ['what JSON can say', () => false];

/** Half of a surrogate pair would arrive as another character. */
const text: Kind = [
  'a string that is not empty',
  (value) => typeof value === 'string' && value && !/[\ud800-\udfff]/u.test(value),
];
const isObject = (value: unknown): unknown => typeof value === 'object' && value;

/** What options have to be, whatever takes them. */
const kinds: Record<string, Kind> = {
  auth: code,
  backoff: ['an object', isObject, () => time],
  buffer: count,
  connectTimeout: time,
  headers: ['an object of strings', (value) => !value || shown(value) === '[object Object]', () => string],
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
const anyOptions: Kind = ['an object', isObject, (key) => kinds[key]];

/** Throws, unless a value is of a kind, as are its members. */
function check(what: string, value: any, kind: Kind | undefined): void {
  if (!kind) return;
  const [want, is, memberOf] = kind;
  if (!is(value)) throw new (typeof value === 'number' ? RangeError : TypeError)(`${what}: want ${want}, not ${shown(value)}`);
  if (!memberOf) return;
  for (const key in value) if (value[key] !== undefined) check(`${what}.${key}`, value[key], memberOf(key));
}

/** Where a client connects to, and how. */
export function checkClient(url: string | (() => unknown), options: ClientOptions): void {
  if (typeof url !== 'function') checkUrl(url);
  check('options', options, anyOptions);
}

export function checkUrl(url: string): string {
  check('url', url, text);
  return url;
}

export const checkToken = (token: unknown): void => check('what auth() gives', token ?? 'none', text);

export const checkFunction = (what: string, value: unknown): void => check(what, value, code);

export function checkSubscription(channel: unknown, options: SubscribeOptions, handler: unknown): void {
  check('channel', channel, text);
  check('options', options, anyOptions);
  if (handler !== undefined) checkFunction('handler', handler);
}

/** `key` is what its name is called. */
export function checkRequest(key: string, name: unknown, args: unknown, options: RequestOptions): void {
  check(key, name, text);
  check('options', options, anyOptions);
  checkArgs(args);
}

/** Where args are wrong. */
const at = (key: string): string => `args${key && `, at ${key}`}`;

/** Functions, symbols, and in arrays undefined, JSON leaves out, or writes null in their place. */
function checkArgs(value: unknown, key = '', inArray = false, depth = 1): void {
  const type = typeof value;
  if (type === 'function' || type === 'symbol' || (inArray && type === 'undefined')) check(at(key), value, json);
  if (type !== 'object' || !value) return;
  if (depth === MAX_DEPTH) check(at(key), depth, ['less nesting', json[1]]);
  if ('toJSON' in (value as object)) return key || JSON.stringify(value) ? undefined : check(at(key), undefined, json);
  for (const member of Object.keys(value)) checkArgs(value[member as never], member, Array.isArray(value), depth + 1);
}
