// Runs the suite in Node, Bun or Deno, with the task in the environment; prints
// what came out as the last line.
import * as juggler from '../../dist/index.js';
import { run } from './suite.mjs';

const task = JSON.parse(process.env.TASK);
const WebSocket = task.ws ? (await import('../../node_modules/ws/wrapper.mjs')).WebSocket : undefined;
const outcome = JSON.stringify(await run(juggler, WebSocket, task));
// Node's own WebSocket waits for ever for the end of a connection that is closing.
process.stdout.write(`${outcome}\n`, () => process.exit());
