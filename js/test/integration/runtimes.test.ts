// One suite in every runtime that the README names: what works, and what ends
// a try to connect.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPage } from '../support/browser.js';
import { launch } from '../support/launch.js';
import { Failures } from '../support/failures.js';
import { Worker, runtimes, type Outcome, type Task } from '../support/runtimes.js';
import { TestServer } from '../support/server.js';

const server = new TestServer();
const failures = new Failures();
let browser: Browser;

beforeAll(async () => {
  [browser] = await Promise.all([launch(), server.start(), failures.start()]);
});
afterAll(async () => {
  failures.stop();
  await browser.close();
  await server.kill();
});

async function runChromium(task: Task): Promise<Outcome> {
  const page = await openPage(browser, server);
  const suite = readFileSync(join(import.meta.dirname, '../runtimes/suite.mjs'), 'utf8');
  const url = `data:text/javascript,${encodeURIComponent(suite)}`;
  try {
    return (await page.evaluate(`import(${JSON.stringify(url)}).then(({ run }) => run(juggler, undefined, ${JSON.stringify(task)}))`)) as Outcome;
  } finally {
    await page.context().close();
  }
}

/** The code of an end that the server, or what stands between, has said. */
const codeOf = (name: string): unknown => {
  if (/^sends a/.test(name)) return 1002;
  if (name === 'closes without a code') return 1005;
  // Some runtimes then wait for the end of the connection, which the client does not.
  if (name === 'closes, and leaves the connection open') return expect.toBeOneOf([1001, 1006]);
  return Number(/^closes with (\d+)$/.exec(name)?.[1] ?? 1006);
};

/** What a try ends with. A browser does not tell a page why a handshake failed; all others do. */
const expected = (name: string, inBrowser: boolean): object => ({
  name,
  answer: name, // Of the second try.
  code: codeOf(name),
  message: expect.stringMatching(/./),
  ...(!inBrowser && /^(resets the h|answers|redirects|is no|speaks no)/.test(name) && { cause: expect.stringMatching(/./) }),
});

/** How many bytes of messages the server has sent and received compressed. */
const compressed = (): Promise<{ sent: number; received: number }> => server.get('/control/compressed');

/** Whether a runtime takes compressed messages, and whether it sends any: Node's own WebSocket does not. */
const compresses = (name: string): boolean[] => [name !== 'Deno', name !== 'Deno' && !/^Node \d+$/.test(name)];

describe.each(Object.entries({ ...runtimes, Chromium: runChromium }))('%s', (name, run) => {
  it('works, and ends a try when it has failed', async () => {
    const before = await compressed();
    const { worked, met } = await run({ server: server.url(), failures: failures.list });
    expect(worked).toEqual({
      event: 'ünï 💥',
      echoed: true,
      streamed: [true, 100, 100],
      kept: [true, 400],
      failure: ['JugglerError', 422, 'failed', { field: 'a' }],
      aborted: 'AbortError',
      state: { status: 'closed' },
    });
    const after = await compressed();
    const long = 20_000; // Less than the suite's.
    expect([after.sent - before.sent > long, after.received - before.received > long]).toEqual(compresses(name));
    expect(met).toMatchObject(failures.list.map((failure) => expected(failure.name, name === 'Chromium')));
  });
});

it('a client at the module level of a worker connects anew in each request', async () => {
  const worker = await new Worker().start();
  try {
    for (const args of [1, 2, 3]) expect(await worker.ask('/shared', { server: server.url(), args })).toBe(args);
  } finally {
    worker.stop();
  }
});
