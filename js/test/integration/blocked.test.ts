// Whether a page that gets no connection is refused, or nobody is there: real Chromium, real servers.
import { createServer, type RequestListener, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { launch } from '../support/launch.js';
import { TestServer } from '../support/server.js';

const dist = join(import.meta.dirname, '../../dist');
const server = new TestServer();
const servers: Server[] = [];
let browser: Browser;
let page: Page;
/** Those of the console. */
let warnings: string[];

beforeAll(async () => {
  [browser] = await Promise.all([launch(), server.start()]);
});
afterAll(async () => {
  await browser.close();
  await server.kill();
  for (const other of servers) other.close();
});
beforeEach(async () => {
  page = await (await browser.newContext()).newPage();
  warnings = [];
  page.on('console', (message) => {
    if (message.type() === 'warning') warnings.push(message.text());
  });
});
afterEach(() => page.context().close());

/** Starts an HTTP server that answers whatever comes, upgrades too. Returns its origin, and what it was asked for. */
async function answering(listener: RequestListener): Promise<{ origin: string; asked: string[] }> {
  const asked: string[] = [];
  const other = createServer((request, response) => {
    if (!request.headers.upgrade) asked.push(`${request.method} ${request.url} ${request.headers.cookie ?? ''}`.trim());
    listener(request, response);
  });
  servers.push(other);
  await once(other.listen(0, '127.0.0.1'), 'listening');
  return { origin: `http://127.0.0.1:${(other.address() as AddressInfo).port}`, asked };
}

const html: RequestListener = (_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html>welcome');

/** What so many tries of a client in the page say in `error.blocked`. */
async function tries(file: string, count: number, url: string): Promise<unknown[]> {
  await page.addScriptTag({ path: join(dist, file) });
  return page.evaluate(
    async ([url, count]) => {
      const client = new window.juggler.Client(url, { backoff: { min: 1, max: 1 } });
      const seen: unknown[] = [];
      await new Promise<void>((resolve) => {
        client.on('state', (state) => {
          if (state.status === 'waiting' && seen.push(state.error.blocked) === count) resolve();
        });
        client.connect();
      });
      void client.close();
      return seen;
    },
    [url, count] as const,
  );
}

/** In production and in development. The latter warns of it, once. */
async function expectOf(at: string, url: string, blocked: boolean, warning: RegExp): Promise<void> {
  await page.goto(at);
  expect(await tries('juggler.min.js', 1, url)).toEqual([blocked]);
  expect(warnings).toEqual([]);
  expect(await tries('juggler.js', 2, url)).toEqual([blocked, blocked]);
  await expect.poll(() => warnings).toEqual([expect.stringMatching(warning)]);
}

describe('a page that gets no connection learns', () => {
  it('that nobody is there', async () => {
    const gone = await answering(html);
    servers.pop()!.close();
    await expectOf(server.origin, gone.origin.replace('http', 'ws'), false, /nothing answers there/);
  });

  it('that its origin is a foreign one, and how to allow it', async () => {
    const own = server.origin.replace('127.0.0.1', 'localhost');
    await expectOf(own, server.url('/strict'), true, new RegExp(`WithOrigins\\("${own}"\\)`));
  });

  it('that the path is wrong', async () => {
    await expectOf(server.origin, server.url('/nowhere'), true, /404.*Nothing serves this path/);
  });

  it('that a portal answers, with its own page', async () => {
    const { origin, asked } = await answering(html);
    await page.context().addCookies([{ name: 'session', value: 'secret', url: origin }]);
    await expectOf(origin, `${origin.replace('http', 'ws')}/ws`, true, /200, text\/html.*a portal's/);
    // Once known, it is not asked again, but for development, which reads it; and never with cookies.
    expect(asked.filter((request) => request.startsWith('GET /ws'))).toEqual(Array(3).fill('GET /ws'));
  });

  it('that a portal answers, elsewhere', async () => {
    const { origin } = await answering(html);
    await expectOf(server.origin, `${origin.replace('http', 'ws')}/ws`, true, /something answers there/);
  });

  it('what a server says that refuses it', async () => {
    const { origin } = await answering((_, response) => response.writeHead(403, { 'content-type': 'text/plain' }).end('not on this network'));
    await expectOf(origin, `${origin.replace('http', 'ws')}/ws`, true, /403.*"not on this network".*sign-in/);
  });

  it('that a proxy is up, and the server is not', async () => {
    const { origin } = await answering(({ url }, response) => void (url === '/ws' ? response.writeHead(502).end() : html(null as never, response as never)));
    await expectOf(origin, `${origin.replace('http', 'ws')}/ws`, true, /502.*what is behind it is not/);
  });

  it('that its own policy forbids it', async () => {
    const policy = `default-src 'self' 'unsafe-inline'; connect-src 'none'`;
    await page.route('**/policy', (route) =>
      route.fulfill({ headers: { 'content-security-policy': policy, 'content-type': 'text/html' }, body: '<!doctype html>' }),
    );
    await expectOf(`${server.origin}/policy`, server.url(), true, /Content-Security-Policy.*connect-src/);
  });
});

it('a connection that has worked and is lost is never called blocked', async () => {
  const own = await new TestServer().start();
  try {
    await page.goto(own.origin);
    await page.addScriptTag({ path: join(dist, 'juggler.js') });
    await page.evaluate(async (url) => {
      window.client = new window.juggler.Client(url, { backoff: { min: 1, max: 1 } });
      await window.client.call('test.echo', 1);
    }, own.url());
    await own.kill();
    const errors = await page.evaluate(async () => {
      const seen: object[] = [];
      await new Promise<void>((resolve) => {
        window.client.on('state', (state) => {
          if (state.status === 'waiting' && seen.push({ ...state.error }) === 2) resolve();
        });
      });
      return seen;
    });
    for (const error of errors) expect(error).not.toHaveProperty('blocked', expect.any(Boolean));
    expect(warnings).toEqual([]);
  } finally {
    await own.kill();
  }
});

it('a name with * that is subscribed to as a channel is doubted in the console, once', async () => {
  await page.goto(server.origin);
  await page.addScriptTag({ path: join(dist, 'juggler.js') });
  await page.evaluate(async (url) => {
    window.client = new window.juggler.Client(url);
    const subscribe = (options: { pattern?: false } = {}) => window.client.subscribe('news.*', options, () => {}).ready;
    await Promise.all([subscribe(), subscribe(), window.client.subscribe('chat.*', { pattern: true }, () => {}).ready]);
  }, server.url());
  expect(warnings).toEqual([expect.stringContaining(`subscribe('news.*')`)]);
});
