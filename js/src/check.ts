// Checks of what applications pass. A mistake of theirs must not leave: the
// server would close the connection, which all the others need.
import type { ClientOptions, RequestOptions, SubscribeOptions } from './types.js';

/** How deep a server takes a message, its own braces included. */
const MAX_DEPTH = 10_000;

/** A value as errors name it. */
export function shown(value: unknown): string {
  if (value instanceof Error) return String(value);
  if (Object(value) === value) return Object.prototype.toString.call(value);
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}

/** Throws, unless something holds. */
function check(holds: unknown, what: string, want: string, value: unknown, Kind: ErrorConstructor = TypeError): void {
  if (!holds) throw new Kind(`${what}: want ${want}, not ${shown(value)}`);
}

/** A URI, channel or pattern, as JSON. Half of a surrogate pair would arrive as another character. */
export function checkedName(what: string, value: unknown): string {
  check(typeof value === 'string' && value && !/[\ud800-\udfff]/u.test(value), what, 'a string that is not empty', value);
  return JSON.stringify(value);
}

export function checkFunction(what: string, value: unknown): void {
  check(value === undefined || typeof value === 'function', what, 'a function', value);
}

export function checkUrl(url: unknown): void {
  check(typeof url === 'string' && url, 'url', 'a string that is not empty, or a function that gives one', url);
}

export function checkToken(token: unknown): void {
  check(token == null || (typeof token === 'string' && token), 'what auth() gives', 'a string that is not empty, or null', token);
}

function checkObject(what: string, value: unknown): void {
  check(typeof value === 'object' && value, what, 'an object', value);
}

/** Infinity is not in JSON, and no time that a timer can hold. */
export function checkTime(what: string, value: unknown): void {
  check(typeof value === 'number' && value > 0 && value < Infinity, what, 'finite milliseconds above 0', value, RangeError);
}

function checkCount(what: string, value: unknown = 0): void {
  check(typeof value === 'number' && value >= 0, what, 'a number, 0 or more', value, RangeError);
}

/** The options of a request or a subscription. */
export function checkOptions(options: RequestOptions | SubscribeOptions): void {
  checkObject('options', options);
  const { signal } = options;
  check(signal == null || typeof signal.addEventListener === 'function', 'signal', 'an AbortSignal', signal);
}

/** What a request carries, as the fields of a message with a leading comma. */
export function payload(args: unknown, { headers }: RequestOptions): string {
  let fields = '';
  if (args !== undefined) {
    const json = JSON.stringify(args);
    checkSayable(args);
    check(json, 'args', 'what JSON can say', undefined);
    fields += `,"args":${json}`;
  }
  if (headers != null) {
    check(Object.prototype.toString.call(headers) === '[object Object]', 'headers', 'an object of strings', headers);
    const copy: Record<string, string | undefined> = { ...headers };
    for (const [name, value] of Object.entries(copy)) {
      check(value === undefined || typeof value === 'string', `headers.${name}`, 'a string', value);
    }
    fields += `,"headers":${JSON.stringify(copy)}`;
  }
  return fields;
}

/** Functions, symbols, and in arrays undefined, JSON leaves out, or writes null in their place. */
function checkSayable(value: unknown, key?: string, inArray = false, depth = 1): void {
  const type = typeof value;
  const what = key ? `args, at ${key}` : 'args';
  const lost = type === 'function' || type === 'symbol' || (inArray && type === 'undefined');
  check(!lost, what, 'what JSON can say', value);
  if (type !== 'object' || !value || 'toJSON' in (value as object)) return;
  check(depth < MAX_DEPTH, what, 'less nesting', value, RangeError);
  for (const member of Object.keys(value)) checkSayable(value[member as never], member, Array.isArray(value), depth + 1);
}

export function checkSubscription(channel: unknown, options: SubscribeOptions, handler: unknown): void {
  checkedName('channel', channel);
  checkOptions(options);
  for (const code of ['onReady', 'onGap', 'onError'] as const) checkFunction(code, options[code]);
  checkFunction('handler', handler);
  checkCount('buffer', options.buffer);
}

/** A copy, as the object is the application's. */
export type CheckedOptions = ClientOptions & { readonly backoff: { readonly min: number; readonly max: number } };

/** Checks where a client connects to, and how. */
export function checkedOptions(url: unknown, options: ClientOptions): CheckedOptions {
  if (typeof url !== 'function') checkUrl(url);
  checkObject('options', options);
  const { backoff = {} } = options;
  checkObject('backoff', backoff);
  const { min = 500, max = 30_000 } = backoff;
  checkTime('backoff.min', min);
  checkTime('backoff.max', max);
  for (const time of ['timeout', 'connectTimeout'] as const) checkTime(time, options[time] ?? 1);
  for (const code of ['auth', 'WebSocket', 'logger'] as const) checkFunction(code, options[code]);
  for (const count of ['queueLimit', 'queueSize'] as const) checkCount(count, options[count]);
  return { ...options, backoff: { min, max } };
}
