// One measurement in a process of its own: node client.mjs PEER SCENARIO URL SECONDS
// prints {"rate": messages a second, "cpu": µs of this process a message}.
import { setTimeout as sleep } from 'node:timers/promises';

const [, , peer, scenario, url, seconds] = process.argv;
const args = 'x'.repeat(126);

/** How each peer is connected: `call(uri, args)` and `onEvent(handler)`. */
const connect = {
  async juggler() {
    const { Client } = await import('../dist/index.js');
    const { WebSocket } = await import('ws');
    const client = new Client(url, { WebSocket });
    return {
      call: (uri, args) => client.call(uri, args),
      onEvent: (handler) => client.subscribe('bench', ({ args }) => handler(args)).ready,
    };
  },
  async centrifuge() {
    const { Centrifuge } = await import('centrifuge');
    const { WebSocket } = await import('ws');
    const client = new Centrifuge(url, { websocket: WebSocket });
    client.connect();
    await client.ready();
    return {
      call: async (uri, args) => (await client.rpc(uri, args)).data,
      async onEvent(handler) {
        const subscription = client.newSubscription('bench');
        subscription.on('publication', ({ data }) => handler(data));
        subscription.subscribe();
        await subscription.ready();
      },
    };
  },
  async 'socket.io'() {
    const { io } = await import('socket.io-client');
    const socket = io(url, { transports: ['websocket'] });
    await new Promise((resolve) => socket.on('connect', resolve));
    return {
      call: (uri, args) => socket.emitWithAck(uri, args),
      onEvent: async (handler) => void socket.on('event', handler),
    };
  },
};

/** Keeps n calls in flight until time is over; returns how many were made. */
async function calls({ call }, n, end) {
  let made = 0;
  const caller = async () => {
    while (performance.now() < end) {
      if ((await call('echo', args)) !== args) throw new Error('wrong result');
      made++;
    }
  };
  await Promise.all(Array.from({ length: n }, caller));
  return made;
}

/** Has the server publish batches of 1,000 until time is over; returns how many events came. */
async function events({ call, onEvent, state }, end) {
  if (!state.subscribed) {
    state.subscribed = true;
    await onEvent((data) => {
      if (data !== args) throw new Error('wrong event');
      if (++state.got === state.wanted) state.done();
    });
  }
  state.got = state.wanted = 0;
  while (performance.now() < end) {
    state.wanted += 1_000;
    const arrived = new Promise((resolve) => (state.done = resolve));
    await Promise.all([call('publish', 1_000), arrived]);
  }
  return state.got;
}

const scenarios = {
  'calls, 1 in flight': (api, end) => calls(api, 1, end),
  'calls, 64 in flight': (api, end) => calls(api, 64, end),
  events: events,
};

const api = { ...(await connect[peer]()), state: {} };
await scenarios[scenario](api, performance.now() + 3_000); // warm-up: the compilers of both sides need it
await sleep(50);
const [start, cpu] = [performance.now(), process.cpuUsage()];
const n = await scenarios[scenario](api, start + seconds * 1_000);
const { user, system } = process.cpuUsage(cpu);
console.log(JSON.stringify({ rate: n / ((performance.now() - start) / 1_000), cpu: (user + system) / n }));
process.exit();
