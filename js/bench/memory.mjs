// What a client holds in memory: node --expose-gc memory.mjs [FILE], where
// FILE is a built index.js, by default that of ../dist. No network: the other
// end is in the process, and answers nothing but HELLO and ACK.
import { pathToFileURL } from 'node:url';

const { Client } = await import(pathToFileURL(process.argv[2] ?? new URL('../dist/index.js', import.meta.url).pathname));

class Socket {
  readyState = 0;
  constructor() {
    queueMicrotask(() => {
      this.readyState = 1;
      this.say({ type: 'HELLO', session: 's', node: 'n', ping: 25_000, limits: {} });
    });
  }
  say(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }
  send(text) {
    const { type, id } = JSON.parse(text);
    if (type === 'SUB') queueMicrotask(() => this.say({ type: 'ACK', for: id }));
  }
  close() {}
}

async function heap() {
  for (let turn = 0; turn < 5; turn++) {
    await new Promise((resolve) => setTimeout(resolve));
    globalThis.gc();
  }
  return process.memoryUsage().heapUsed;
}

/** Bytes that each of many takes. What `make` returns is kept. */
async function each(count, make) {
  const kept = [];
  for (let n = 0; n < 100; n++) kept.push(make(`warm ${n}`));
  const before = await heap();
  for (let n = 0; n < count; n++) kept.push(make(`n ${n}`));
  const bytes = ((await heap()) - before) / count;
  return kept.length && Math.round(bytes);
}

const connected = () => {
  const client = new Client('ws://x/', { WebSocket: Socket, logger() {} });
  client.connect();
  return client;
};
const client = connected();
const handler = () => {};
console.log('bytes of heap each');
console.log('a connected client            ', await each(1_000, connected));
console.log('a channel with a subscription ', await each(10_000, (name) => client.subscribe(name, handler)));
console.log('another subscription to it    ', await each(10_000, () => client.subscribe('shared', handler)));
console.log('a call that waits for its answer', await each(5_000, () => void client.call('x', 1, { timeout: 3_600_000 }).catch(() => {})));
process.exit();
