// The client in workerd. The task is the body of a request, the answer what came out.
import * as juggler from '../../dist/index.js';
import { run } from './suite.mjs';

/** One at module level, which outlives the request that makes it. */
let shared;

export default {
  async fetch(request) {
    const task = await request.json();
    if (new URL(request.url).pathname === '/suite') return Response.json(await run(juggler, undefined, task));
    shared ??= new juggler.Client(task.server, { backoff: { min: 1, max: 1 } });
    return Response.json(await shared.call('test.echo', task.args));
  },
};
