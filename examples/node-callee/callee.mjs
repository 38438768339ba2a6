// A callee of juggler on Redis, in plain Node: it answers the calls to the URIs
// in `functions`. What it does is described in docs/redis.md, "Values, to the
// byte" and "A callee in another language".
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis, script } from './redis.mjs';

/** An error whose code, message and data the caller gets; of another it gets nothing. */
class CallError extends Error {
  constructor(code, message, data) {
    super(message);
    Object.assign(this, { code, data });
  }
}

// A function gets the arguments of a call, its headers, a signal that aborts
// when the caller cancels or the time is over, and the key of a call that has
// one, else '': it is the same each time that the call runs, and no other
// call's, for an effect that must happen once. What a generator yields is
// a part of the answer, for callers that want parts: it goes on when Redis has
// that, and the caller takes one more.
const functions = {
  'js.add': ([a, b]) => a + b,
  'js.greet': (name, { headers }) => `${headers.greeting ?? 'hello'} ${name}`,
  'js.key': (_, { key }) => key,
  'js.sleep': (ms, { signal }) => sleep(ms, ms, { signal }),
  'js.root': (x) => {
    if (!(x >= 0)) throw new CallError(422, 'want a number from 0 on', { got: x });
    return Math.sqrt(x);
  },
  'js.count': async function* (last) {
    for (let n = 1; n <= last; n++) yield n;
    return last;
  },
};

const { REDIS_URL = 'redis://127.0.0.1:6379', JUGGLER_PREFIX = 'juggler' } = process.env;
const LEASE = Number(process.env.JUGGLER_LEASE ?? 5000); // ms
const GRACE = 5000; // ms, the same in all callees
const CONCURRENCY = 64;
const RESULT_CAPACITY = 65536;
const PARTS_CAPACITY = 64 << 20; // bytes
const MISSING = -1; // instead of a count: Redis does not know the node
const CLOSED = -2; // or knows that it has gone
const REMEMBERED = 65536; // calls
const KEYED = Buffer.from('\xffkey', 'latin1'); // begins the addresses of calls with a key
const OUTCOME_TIME = 600_000; // ms for which the outcome of such a call is worth something

const scripts = Object.fromEntries(['announce', 'take', 'part', 'result', 'stop', 'withdraw'].map((name) => [name, script(name)]));
for (const name of ['append', 'commit']) scripts[name] = script('record', name);
const uris = Object.keys(functions);
const key = (...names) => [JUGGLER_PREFIX, '{0.0}', ...names].join(':'); // a single server has one lane
const perURI = (...kinds) => uris.flatMap((uri) => kinds.map((kind) => key(kind, uri)));
const uint32 = (n) => Buffer.from([n >>> 24, n >>> 16, n >>> 8, n]);
const uint64 = (n) => Buffer.concat([uint32(n / 2 ** 32), uint32(n % 2 ** 32)]);

/** Writes 16 bytes as the 26 characters of a ULID. */
function ulid(bytes) {
  const bits = BigInt(`0x${bytes.toString('hex')}`);
  return Array.from({ length: 26 }, (_, i) => '0123456789ABCDEFGHJKMNPQRSTVWXYZ'[Number((bits >> BigInt(125 - 5 * i)) & 31n)]).join('');
}

const running = new Map(); // address in hex → the call
const finished = new Set(); // the addresses of those answered last
let redis; // the connections in use and the callee's id, anew after each loss
let freed = () => {}; // called when a call has ended
let stopping = false;

/** Connects under an id of its own: what an earlier one was given and never heard of ends in 502 with its lease. */
function open() {
  const now = Buffer.alloc(6);
  now.writeUIntBE(Date.now(), 0, 6);
  const bytes = Buffer.concat([now, randomBytes(10)]);
  const id = ulid(bytes);
  const onMessage = ([, channel, message]) => {
    if (channel.toString() === key('grants', id)) return grant(message);
    running.get(message.toString('hex'))?.abort.abort(new CallError(499, 'cancelled'));
  };
  const connections = [1, 2, 3].map(() => new Redis(REDIS_URL, { onMessage, onClose: close }));
  const beat = setInterval(() => announce(redis).catch(close), LEASE / 4);
  function close() {
    clearInterval(beat);
    for (const connection of connections) connection.close();
  }
  const [takes, writes, hears] = connections;
  redis = { id, bytes, takes, writes, hears, beat, close, answered: [] };
}

async function announce({ id, writes, answered }) {
  const keys = [key('callees'), key('taken', id), key('uris'), ...perURI('served', 'callees'), ...perURI('bunches', 'calls', 'tokens')];
  // Each URI is a bunch by itself, which has no name; all are named each time.
  await writes.run(scripts.announce, keys, [id, LEASE, GRACE, LEASE, uris.length, 1, ...uris.map(() => ''), ...answered.splice(0)]);
}

/** Takes and starts calls until the process is told to stop. Throws when Redis is lost. */
async function serve() {
  const { id, takes, hears, answered } = redis;
  await hears.send('SUBSCRIBE', key('cancel'));
  await hears.send('SUBSCRIBE', key('grants', id));
  await announce(redis);
  console.log('ready');
  const keys = [key('callees'), key('taken', id), ...perURI('calls', 'tokens', 'cancelled')];
  for (let more = 0, first = 0; !stopping; ) {
    if (running.size >= CONCURRENCY) {
      await new Promise((resolve) => (freed = resolve));
      continue;
    }
    const wait = more ? null : takes.send('BZPOPMIN', key('stop', id), ...perURI('tokens'), 2);
    const take = takes.run(scripts.take, keys, [id, CONCURRENCY - running.size, first, uris.length, ...answered.splice(0)]);
    const [[now, waiting, ...calls]] = await Promise.all([take, wait]);
    if (now === -1) await announce(redis); // the lease was over
    more = waiting;
    while (calls.length > 0) {
      const [uri, count] = calls.splice(0, 2);
      for (const value of calls.splice(0, count)) start(uris[uri], value, now);
      first = (uri + 1) % uris.length; // so that none starves
    }
  }
}

/** Runs one call and stores its result. */
async function start(uri, value, now) {
  if (value.length < 54 || value[0] !== 0x43 /* C */) return console.error('dropped a value that is not a call of', uri);
  const address = value.subarray(14, 46);
  const name = address.toString('hex');
  if (running.has(name)) return; // a failover has brought it back
  if (finished.has(name)) return redis.answered.push(address); // or a snapshot
  const left = Number(value.subarray(1, 14)) - now;
  const expiry = performance.now() + (isKeyed(address) ? OUTCOME_TIME : left);
  const args = 54 + value.readUInt32BE(50);
  const abort = new AbortController();
  const signal = AbortSignal.any([abort.signal, AbortSignal.timeout(left)]);
  const [callKey, others] = cut('@key', value.subarray(54, args).toString());
  const [counts, headers] = cut('@parts', others);
  const [parts, bytes] = (counts || '0,0').split(',').map(Number);
  const window = { parts, bytes };
  const call = { address, abort, signal, window, sent: { parts: 0, bytes: 0 }, wake() {} };
  signal.addEventListener('abort', () => call.wake());
  running.set(name, call);
  let result;
  try {
    let output = functions[uri](JSON.parse(value.subarray(args).toString() || 'null'), { headers: JSON.parse(headers || '{}'), signal, key: callKey });
    if (output?.[Symbol.asyncIterator]) output = inParts(call, output);
    result = [uint32(0), Buffer.from(JSON.stringify((await output) ?? null))];
  } catch (error) {
    const ended = signal.aborted && (abort.signal.reason ?? new CallError(408, "the call's time was over"));
    result = failure(ended || error, uri);
  }
  // What may have been stored is stored again: the node counts the first result. A
  // node that Redis does not know says within a lease that it lives, if it does.
  let missing;
  for (let end = expiry; performance.now() < end; await sleep(500)) {
    const stored = await store(address, result, call.sent.parts);
    if (stored >= 0) break;
    missing = stored === MISSING ? missing ?? performance.now() : undefined;
    end = missing === undefined ? expiry : Math.min(expiry, missing + LEASE);
  }
  running.delete(name);
  finished.add(name);
  if (finished.size > REMEMBERED) finished.delete(finished.values().next().value); // the oldest
  redis.answered.push(address);
  freed();
}

/** Takes what the node says in front of the headers of a call off them: its text, and the rest. */
function cut(name, headers) {
  const begin = `{"${name}":"`;
  const end = headers.indexOf('"', begin.length);
  if (!headers.startsWith(begin) || end < 0) return ['', headers];
  const rest = headers.slice(end + 1);
  return [headers.slice(begin.length, end), `{${rest === '}' ? rest : rest.slice(1)}`];
}

/** Whether a call has a key: its outcome and parts go to its record, and not to a node. */
function isKeyed(address) {
  return address.subarray(0, KEYED.length).equals(KEYED);
}

/** The keys of the record of a call with a key, of its parts, and of the records of its owner. */
function recordKeys(address) {
  const name = address.subarray(KEYED.length, 16).toString('hex');
  return [key('keyed', name), key('keyed-parts', name), key('keyed-owner', address.subarray(16, 24).toString('hex'))];
}

/** Tells nodes of news of a call, whose key stands before their ids. What does not arrive they find out by themselves. */
function tell(news) {
  for (let at = 16; at + 16 <= news.length; at += 16) {
    const node = ulid(news.subarray(at, at + 16));
    const keys = [key('node', node), ...['parts', 'parts-state', 'parts-token'].map((kind) => key(kind, node))];
    redis.writes.run(scripts.part, keys, [PARTS_CAPACITY, 1, Buffer.concat([Buffer.from('N'), news.subarray(0, 16)])]).catch(() => {});
  }
}

/** Makes the windows of calls greater. Each is a total, so the order does not matter. */
function grant(message) {
  for (let at = 1; at + 44 <= message.length; at += 44) {
    const call = running.get(message.subarray(at, at + 32).toString('hex'));
    if (!call) continue;
    call.window.parts = Math.max(call.window.parts, message.readUInt32BE(at + 32));
    call.window.bytes = Math.max(call.window.bytes, Number(message.readBigUInt64BE(at + 36)));
    call.wake();
  }
}

/** Sends what a generator yields, and returns what it returns. */
async function inParts(call, generator) {
  const wanted = call.window.parts > 0;
  try {
    for (;;) {
      const { done, value } = await generator.next();
      if (done) return value;
      call.signal.throwIfAborted();
      if (wanted) await send(call, Buffer.from(JSON.stringify(value ?? null)));
    }
  } finally {
    await generator.return();
  }
}

/** Stores a part when the caller takes one more. Meanwhile it asks now and then whether the node lives. */
async function send(call, part) {
  const { signal, window, sent } = call;
  const isFull = () => sent.parts >= window.parts || sent.bytes >= window.bytes;
  for (let missing; ; signal.throwIfAborted()) {
    if (isFull()) await change(call, LEASE);
    signal.throwIfAborted();
    const stored = await storePart(call, isFull() ? [] : [part]);
    if (stored > 0) break;
    missing = stored === MISSING ? (missing ?? performance.now()) : undefined;
    if (stored === CLOSED || performance.now() - missing > LEASE) call.abort.abort(new CallError(499, 'the caller is gone'));
    else if (!isFull()) await change(call, 100); // no room in the list, or the reply did not come
  }
  sent.parts += 1;
  sent.bytes += part.length;
}

/** Waits some ms, or until the caller takes more or the call ends. */
function change(call, ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    call.wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

/** Returns how many of the values were stored, none or one; MISSING, CLOSED, or NaN if the reply did not come. */
async function storePart(call, values) {
  const { address, window, sent } = call;
  if (isKeyed(address)) return appendPart(call, values[0]);
  const node = ulid(address.subarray(0, 16));
  const keys = [key('node', node), ...['parts', 'parts-state', 'parts-token'].map((kind) => key(kind, node))];
  const begin = [Buffer.from('P'), address.subarray(16), redis.bytes, uint32(sent.parts + 1), uint32(window.parts), uint64(window.bytes)];
  try {
    const [stored] = await redis.writes.run(scripts.part, keys, [PARTS_CAPACITY, values.length, ...values.map((v) => Buffer.concat([...begin, v]))]);
    return Number(stored);
  } catch {
    return NaN;
  }
}

/** As storePart, for the record of a call with a key, which keeps the newest parts: nobody paces its callee. */
async function appendPart({ address, sent }, part) {
  try {
    const [code, news] = await redis.writes.run(scripts.append, recordKeys(address).slice(0, 2), [address.subarray(16), sent.parts + 1, part]);
    if (code < 0) return 0; // no memory
    if (code === 0) return CLOSED;
    tell(news);
    return 1;
  } catch {
    return NaN;
  }
}

/** What callers get of an error: nothing but 500, unless it was made for them. */
function failure(error, uri) {
  if (!(error instanceof CallError)) {
    console.error(uri, 'failed:', error);
    return failure(new CallError(500, 'internal error'));
  }
  const { code, data } = error;
  const message = Buffer.from(error.message);
  return [uint32(code), uint32(message.length), message, Buffer.from(JSON.stringify(data) ?? '')];
}

/** Stores the result behind so many parts. Returns how many were stored, MISSING, or NaN if the reply did not come. */
async function store(address, result, parts = 0) {
  const node = ulid(address.subarray(0, 16));
  const begin = parts > 0 ? [Buffer.from('S'), address.subarray(16), uint32(parts), uint32(0)] : [Buffer.from('R'), address.subarray(16)];
  const value = Buffer.concat([...begin, ...result]);
  try {
    if (isKeyed(address)) {
      const [counts, news] = await redis.writes.run(scripts.commit, recordKeys(address), [0, value]);
      if (counts) tell(news);
      return counts; // 0: it had an outcome before
    }
    const [stored] = await redis.writes.run(scripts.result, [key('node', node), key('results', node)], [RESULT_CAPACITY, 1, value]);
    return stored;
  } catch {
    return NaN;
  }
}

/** Lets what runs finish, and leaves. Calls that were given to this callee in a reply that got lost end in 502. */
async function leave({ id, writes, beat, answered }) {
  while (running.size > 0) await new Promise((resolve) => (freed = resolve));
  clearInterval(beat); // nobody is announced who has left
  const keys = [key('callees'), key('taken', id), key('stop', id), key('uris'), ...perURI('served', 'callees'), ...perURI('calls')];
  const lost = await writes.run(scripts.withdraw, keys, [id, GRACE, uris.length, ...uris.map(() => 1), ...answered.splice(0)]);
  for (const address of lost) await store(address, failure(new CallError(502, 'the callee that had taken the call is gone')));
}

function stop() {
  stopping = true;
  redis.writes.run(scripts.stop, [key('stop', redis.id)], []).catch(() => {}); // ends BZPOPMIN
}

process.once('SIGTERM', stop);
process.once('SIGINT', stop);
while (!stopping) {
  open();
  await serve()
    .then(() => leave(redis))
    .catch((error) => console.error(`Redis: ${error.message}`));
  redis.close();
  if (!stopping) await sleep(1000);
}
