// The hooks in a real browser against a real server, served by a dev server as while an application is written.
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import react from '@vitejs/plugin-react';
import type { Browser, Page } from 'playwright-core';
import { createServer, type ViteDevServer } from 'vite';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from 'vitest';
import { launch } from '../support/launch.js';
import { patience } from '../support/patience.js';
import { TestServer, nodeClient } from '../support/server.js';

const root = join(import.meta.dirname, '../..');
let folder: string;
let browser: Browser;
let dev: ViteDevServer;
let server: TestServer;
let page: Page;
let errors: string[];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'juggler-js-hot-'));
  cpSync(join(root, 'test/hot'), folder, { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  dev = await createServer({
    root: folder,
    configFile: false,
    cacheDir: join(folder, '.vite'),
    logLevel: 'error',
    plugins: [react()],
    resolve: {
      alias: [
        { find: /^@juggler-go\/client$/, replacement: join(root, 'dist/index.js') },
        { find: /^@juggler-go\/client\/react$/, replacement: join(root, 'dist/react.js') },
      ],
    },
    server: { host: '127.0.0.1', port: 0, fs: { strict: false } },
  });
  await dev.listen();
  browser = await launch();
});
afterAll(async () => {
  await browser?.close();
  await dev?.close();
  rmSync(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  server = await new TestServer().start();
  page = await (await browser.newContext()).newPage();
  errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.goto(`${dev.resolvedUrls!.local[0]}?server=${server.url()}`);
  await shows('open, last 0');
});
afterEach(async () => {
  await page.context().close();
  await server.kill();
  expect(errors).toEqual([]);
});

const shows = (text: string) => page.waitForFunction((text) => document.body.innerText.includes(text), text);

/** Publishes until the page shows that it has got it, and how often. */
async function countsOneEvent(before: number): Promise<void> {
  const author = nodeClient(server.url());
  try {
    await author.publish('events', 1);
    await shows(`${before + 1} events`);
  } finally {
    await author.close();
  }
}

/** Changes a file of the application that is being written. */
function edit(file: string, from: string, to: string): void {
  const path = join(folder, file);
  const text = readFileSync(path, 'utf8');
  expect(text).toContain(from);
  writeFileSync(path, text.replace(from, to));
}

it('a state and its events agree, however fast they come and whenever the page is loaded', async () => {
  for (let load = 0; load < 2; load++) {
    const published = server.post('/control/publish?channel=numbers&n=20000');
    await page.reload();
    await published;
    await shows('last 19999');
  }
});

it('a state is right after its server was away', async () => {
  await server.kill();
  await shows('waiting');
  await server.start();
  await server.post('/control/publish?channel=numbers&n=5');
  await shows('open, last 4');
});

it('no commit shows the answer to another question', async () => {
  await page.evaluate(async () => {
    const { ask } = window as unknown as { ask: (n: number) => void };
    for (let n = 1; n <= 50; n++) {
      ask(n);
      // Some are answered before the next is asked, some are not.
      await new Promise((resolve) => setTimeout(resolve, n % 10));
    }
  });
  await shows('asked 50, answer 50');
  const commits = await page.evaluate(() => (window as any).commits as { asked: number; data?: number; pending: boolean }[]);
  expect(commits.filter(({ asked, data }) => data !== undefined && data !== asked)).toEqual([]);
  expect(commits.filter(({ data, pending }) => data === undefined && !pending)).toEqual([]);
  expect(commits.filter(({ data }) => data !== undefined).length).toBeGreaterThan(1);
});

it('replacing modules leaves no connection, no subscription and no lost state', async () => {
  await page.evaluate(() => ((window as any).same = true));
  await countsOneEvent(0);
  edit('Room.tsx', 'version 1', 'version 2');
  await shows('version 2 with client 1, open, last 0, 1 events');
  await countsOneEvent(1);
  for (const [n, m] of [[1, 2], [2, 3]] as const) {
    edit('client.ts', `edition = ${n}`, `edition = ${m}`);
    await shows(`with client ${m}, open, last 0`);
    await countsOneEvent(m);
    await vi.waitFor(async () => expect(await server.get('/control/sessions')).toBe(1), patience);
  }
  expect(await page.evaluate(() => (window as any).same)).toBe(true);
});
