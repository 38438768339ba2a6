// What `juggler prober` drives the built client with, in Node: one process a case.
import { createInterface } from 'node:readline';
import { WebSocket } from 'ws';
import { Client, JugglerError, members, stream, withKey } from '../../dist/index.js';

const token = process.env.PROBER_TOKEN;
const client = new Client(process.argv[2], { WebSocket, logger: () => {}, ...(token && { auth: () => token }) });
client.connect();

const tell = (n, what) => console.log(JSON.stringify({ n, ...what }));
const controllers = new Map();
const subscriptions = new Map();

/** Tells how a command ended. */
function outcome(n, promise) {
  promise.then(
    (result) => tell(n, { result: result ?? null }),
    (error) => tell(n, { error: told(error) }),
  );
}

function told(error) {
  if (!JugglerError.is(error)) return { code: 499, message: String(error) };
  const { code, message } = error;
  return { code: error.outcome === 'unknown' && code >= 1000 ? 0 : code, message };
}

function call({ n, uri, args, timeout, key }) {
  const options = { timeout, signal: signal(n) };
  outcome(n, client.call(uri, args, key ? withKey(key, options) : options));
}

function signal(n) {
  const controller = new AbortController();
  controllers.set(n, controller);
  return controller.signal;
}

async function parts({ n, uri, args, parts }) {
  const answer = stream(client, uri, args, { parts, signal: signal(n) });
  try {
    for await (const part of answer) tell(n, { part });
  } catch {
    // Its result says the same.
  }
  outcome(n, answer.result);
}

function subscribe({ n, channel, pattern, here }) {
  let told = false;
  const once = (what) => told || tell(n, what);
  const options = {
    onReady: () => (once({ result: null }), (told = true)),
    onError: ({ code, message }) => tell(n, { error: { code, message } }),
  };
  if (here) {
    const changed = ({ members, count }) => tell(n, { here: members?.map(({ user }) => user).sort() ?? null, count });
    subscriptions.set(n, members(client, channel, options, changed));
    return;
  }
  const event = ({ channel, args }) => tell(n, { channel, event: args ?? null });
  subscriptions.set(n, client.subscribe(channel, { ...options, pattern, onGap: () => tell(n, { gap: true }) }, event));
}

for await (const line of createInterface(process.stdin)) {
  const command = JSON.parse(line);
  const { n, of } = command;
  switch (command.do) {
    case 'call':
      call(command);
      break;
    case 'stream':
      void parts(command);
      break;
    case 'cancel':
      controllers.get(of).abort();
      break;
    case 'publish':
      outcome(n, client.publish(command.channel, command.args));
      break;
    case 'subscribe':
      subscribe(command);
      break;
    case 'unsubscribe':
      subscriptions.get(of).unsubscribe();
      tell(n, { result: null });
  }
}
await client.close();
