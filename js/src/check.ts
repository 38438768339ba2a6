// Checks of what applications pass. A mistake of theirs must not leave: the
// server would close the connection, which all the others need. What depends on
// their data is always checked; what does not, in development, as it is the
// same wherever it runs.
import { MAX_DEPTH } from './constants.js';
import { JugglerError } from './error.js';
import { shown } from './guard.js';
import type { ClientOptions, PublishOptions, RequestOptions, SubscribeOptions } from './types.js';

/** Tells whether a value is what is wanted. */
type Is = (value: any) => unknown;

const isCode: Is = (value) => typeof value === 'function';
const isString: Is = (value) => typeof value === 'string';
const isObject: Is = (value) => typeof value === 'object' && value;
const isMap: Is = (value) => !value || shown(value) === '[object Object]';
/** Infinity is not in JSON, and no time that a timer can hold. */
const isTime: Is = (value) => typeof value === 'number' && value > 0 && value < Infinity;
const isCount: Is = (value) => typeof value === 'number' && value >= 0;
const isSignal: Is = (value) => !value || isCode(value.addEventListener);
/** Half of a surrogate pair would arrive as another character. */
export const isText: Is = (value) => isString(value) && value && !/[\ud800-\udfff]/u.test(value);
const isShallow: Is = (depth) => depth < MAX_DEPTH;
const isJson: Is = () => false;
const isAbsent: Is = (value) => value === undefined;

/** What errors say that is wanted, in development. */
const wanted = /* @__PURE__ */ new Map<Is, string>([
  [isCode, 'a function'],
  [isString, 'a string'],
  [isObject, 'an object'],
  [isMap, 'an object of strings'],
  [isTime, 'finite milliseconds above 0'],
  [isCount, 'a number, 0 or more'],
  [isSignal, 'an AbortSignal'],
  [isText, 'a string that is not empty'],
  [isShallow, 'less nesting'],
  [isJson, 'what JSON can say'],
  [isAbsent, 'withKey(key, options) in a call'],
]);

/** Throws, unless a value is what is wanted. */
function check(what: string, value: unknown, is: Is): void {
  if (is(value)) return;
  const want = typeof process === 'object' && process.env.NODE_ENV !== 'production' ? `want ${wanted.get(is)}, ` : '';
  throw new JugglerError(400, `${what}: ${want}not ${shown(value)}`, 'refused');
}

/** Checks those members that there are. */
function checkMembers(what: string, object: any, isOf: (key: string) => Is | undefined): void {
  for (const key in object) {
    const is = isOf(key);
    if (is && object[key] !== undefined) check(`${what}.${key}`, object[key], is);
  }
}

/** What the options of clients and subscriptions have to be. */
const fixed: Record<string, Is> = {
  auth: isCode,
  backoff: isObject,
  buffer: isCount,
  connectTimeout: isTime,
  isBlocked: isCode,
  last: isCount,
  logger: isCode,
  onError: isCode,
  onGap: isCode,
  onReady: isCode,
  queueLimit: isCount,
  queueSize: isCount,
  signal: isSignal,
  timeout: isTime,
  WebSocket: isCode,
};

function checkFixed(options: ClientOptions & SubscribeOptions): void {
  check('options', options, isObject);
  checkMembers('options', options, (key) => fixed[key]);
  checkMembers('options.backoff', options.backoff, () => isTime);
}

/** Where a client connects to, and how. */
export function checkClient(url: string | (() => unknown), options: ClientOptions): void {
  if (typeof url !== 'function') checkUrl(url);
  checkFixed(options);
}

export function checkUrl(url: string): string {
  check('url', url, isText);
  return url;
}

export const checkToken = (token: unknown): void => check('what auth() gives', token ?? 'none', isText);

export const checkListener = (listener: unknown): void => check('listener', listener, isCode);

export function checkSubscription(channel: unknown, options: SubscribeOptions, handler: unknown): void {
  check('channel', channel, isText);
  if (typeof process === 'object' && process.env.NODE_ENV !== 'production') {
    checkFixed(options);
    check('handler', handler ?? isCode, isCode);
  }
}

/** `key` is what its name is called. */
export function checkRequest(key: string, name: unknown, args: unknown, options: RequestOptions): void {
  const { timeout = 1, headers } = options;
  if (typeof process === 'object' && process.env.NODE_ENV !== 'production') {
    check('options', options, isObject);
    check('signal', options.signal, isSignal);
    check('headers', headers, isMap);
    if (key === 'uri') check('options.key', (options as PublishOptions).key, isAbsent);
  }
  check(key, name, isText);
  check('timeout', timeout, isTime);
  checkMembers('headers', headers, () => isString);
  checkArgs(args);
}

/** Functions, symbols, and in arrays undefined, JSON leaves out, or writes null in their place. */
function checkArgs(value: unknown, key = '', inArray = false, depth = 1): void {
  const what = `args${key && `, at ${key}`}`;
  const type = typeof value;
  if (type === 'function' || type === 'symbol' || (inArray && type === 'undefined')) check(what, value, isJson);
  if (!isObject(value)) return;
  check(what, depth, isShallow);
  if ('toJSON' in (value as object)) return key || JSON.stringify(value) ? undefined : check(what, undefined, isJson);
  for (const member of Object.keys(value as object)) checkArgs(value![member as never], member, Array.isArray(value), depth + 1);
}
