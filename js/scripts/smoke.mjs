// A check that the built client works in a JavaScript runtime, against
// `juggler demo`: node|bun scripts/smoke.mjs URL, deno run -A scripts/smoke.mjs URL
import assert from 'node:assert/strict';
import { Client } from '../dist/index.js';

const WebSocket = globalThis.WebSocket ?? (await import('ws')).WebSocket; // Node before 22
const url = process.argv[2];
const client = new Client(url, { WebSocket });

const events = client.subscribe('smoke.*', { pattern: true });
await events.ready;
await client.publish('smoke.test', 'ünï 💥');
assert.equal((await events.next()).value.args, 'ünï 💥');

const numbers = Array.from({ length: 300 }, (_, n) => n);
assert.deepEqual(await Promise.all(numbers.map((n) => client.call('test.echo', n))), numbers);
await assert.rejects(client.call('nobody'), { name: 'JugglerError', code: 404, outcome: 'refused' });
await assert.rejects(client.call('test.delay', 10_000, { signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' });
await client.close();
assert.deepEqual(client.state, { status: 'closed' });

const unreachable = new Client('ws://127.0.0.1:1/', { WebSocket, logger() {} });
await assert.rejects(unreachable.call('test.echo', 1, { timeout: 200 }), { code: 408, outcome: 'refused' });
await unreachable.close();
console.log('ok');
