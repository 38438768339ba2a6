// What a client makes of a runtime's WebSocket, in any runtime: imports nothing.

/**
 * Lets a client meet a failure at its first try and a server at its second.
 * Resolves to what it saw: the states that it went through, why its first
 * connection ended, and what became of a call made before it all.
 */
export async function meet(Client, WebSocket, failure, server) {
  let tries = 0;
  const states = [];
  const client = new Client(() => (tries++ ? server : failure.url), {
    ...(WebSocket && { WebSocket }),
    // A try that does not end by itself is seen by that.
    connectTimeout: failure.silent ? 2_000 : 60_000,
    backoff: { min: 1, max: 1 },
    logger() {},
  });
  let error;
  client.on('state', (state) => {
    states.push(state.status);
    error ??= state.error;
  });
  const answer = await client
    .call('test.echo', failure.name, { idempotent: true, timeout: 30_000 })
    .catch((reason) => `${reason.code}: ${reason.message}`);
  await client.close();
  return { name: failure.name, answer, states, code: error?.code, message: error?.message, cause: textOf(error?.cause) };
}

function textOf(cause) {
  return cause === undefined ? undefined : String(cause.message || cause);
}

/** All that works where there is a WebSocket. */
export async function work({ Client, stream, withKey }, WebSocket, server) {
  const client = new Client(server, { ...(WebSocket && { WebSocket }), logger() {} });
  const events = client.subscribe('runtime.*', { pattern: true });
  await events.ready;
  await client.publish('runtime.test', 'ünï 💥');
  const event = (await events.next()).value;
  const numbers = Array.from({ length: 300 }, (_, n) => n);
  const echoed = await Promise.all(numbers.map((n) => client.call('test.echo', n)));
  const long = 'ünï 💥 '.repeat(2_000);
  const echoedLong = await client.call('test.echo', long);
  const answer = stream(client, 'test.parts', 100);
  const parts = [];
  for await (const part of answer) parts.push(part);
  const key = `ünï ${Math.random()}`;
  const kept = await Promise.all([0, 1].map(() => client.call('test.count', undefined, withKey(key))));
  const tooLong = await client.call('test.count', undefined, withKey('ü'.repeat(33))).catch(({ code }) => code);
  const failure = await client.call('test.fail').catch((error) => error);
  const controller = new AbortController();
  const aborted = client.call('test.wait', undefined, { signal: controller.signal }).catch(({ name }) => name);
  controller.abort();
  await aborted;
  await client.close();
  return {
    event: event.args,
    echoed: echoed.every((n, i) => n === i) && echoedLong === long,
    streamed: [parts.every((part, i) => part === i + 1), parts.length, await answer.result],
    kept: [kept[0] === kept[1], tooLong],
    failure: [failure.name, failure.code, failure.outcome, failure.data],
    aborted: await aborted,
    state: client.state,
  };
}

/** Everything, for a runtime that is given its task as JSON. */
export async function run(juggler, WebSocket, { failures, server }) {
  return {
    worked: await work(juggler, WebSocket, server),
    met: await Promise.all(failures.map((failure) => meet(juggler.Client, WebSocket, failure, server))),
  };
}
