// docs/first-hour.md: its files and commands as they stand, but for what fetches, in a real browser.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { expect, it, vi } from 'vitest';
import { launch } from '../support/launch.js';
import { patience } from '../support/patience.js';

const root = join(import.meta.dirname, '../../..');
const text = (path: string) => readFileSync(join(root, path), 'utf8');

/** The address of the page, and one that is free here. */
const written = '127.0.0.1:8080';
async function free(): Promise<string> {
  for (;;) {
    // Below the ports that the kernel gives out by itself: no connection takes it before the server does.
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const server = createServer();
    const listens = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!listens) continue;
    await once(server.close(), 'close');
    return `127.0.0.1:${port}`;
  }
}

/** What the commands that fetch would do, with this checkout. */
function fetched(command: string, dir: string): boolean {
  switch (command) {
    case 'mkdir greeter && cd greeter':
    case 'go mod init example.com/greeter':
    case 'go mod tidy':
      return true;
    case 'go get github.com/juggler-go/juggler@latest': {
      const module = text('go.mod').replace('module github.com/juggler-go/juggler', 'module example.com/greeter');
      const own = `require github.com/juggler-go/juggler v0.0.0\nreplace github.com/juggler-go/juggler => ${root}\n`;
      writeFileSync(join(dir, 'go.mod'), `${module}\n${own}`);
      writeFileSync(join(dir, 'go.sum'), text('go.sum'));
      return true;
    }
    case 'curl -o web/juggler.js https://unpkg.com/@juggler-go/client/dist/juggler.js':
      copyFileSync(join(root, 'js/dist/juggler.js'), join(dir, 'web/juggler.js'));
      return true;
  }
  return false;
}

it('leads to a page that greets', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'first-hour-'));
  const address = await free();
  const browser = await launch();
  let server: ReturnType<typeof spawn> | undefined;
  try {
    const parts = /(?:`([\w./]+)`[^`]*?:\n\n)?```(\w+)\n(.*?)```/gs;
    for (const [, file, language, block] of text('docs/first-hour.md').replaceAll(written, address).matchAll(parts)) {
      if (file) writeFileSync(join(dir, file), block!);
      if (language !== 'sh') continue;
      for (const command of block!.trim().split('\n')) {
        if (command === './greeter &') server = spawn('./greeter', { cwd: dir, stdio: 'inherit' });
        else if (!fetched(command, dir)) execFileSync('sh', ['-c', command], { cwd: dir, env: { ...process.env, GOFLAGS: '-mod=mod', GOWORK: 'off' } });
      }
    }
    expect(server, 'the page starts a server').toBeDefined();
    await vi.waitFor(() => fetch(`http://${address}/`), patience);

    const windows = await Promise.all(['ann', 'bob'].map(async () => (await browser.newContext()).newPage()));
    const shows = (page: Page, state: string) => page.waitForFunction((state) => document.querySelector('#state')!.textContent === state, state);
    for (const [i, page] of windows.entries()) {
      await page.goto(`http://${address}/`);
      await shows(page, 'not authenticated');
      await page.fill('[name=user]', ['ann', 'bob'][i]!);
      await page.click('text=Log in');
      await shows(page, 'open');
    }
    const [ann, bob] = windows as [Page, Page];
    await ann.click('text=Greet');
    await shows(ann, 'whom?');
    await ann.fill('#name', 'Bob');
    await ann.click('text=Greet');
    await shows(ann, 'Hello, Bob');
    for (const page of windows) await page.waitForSelector('li:text("Hello, Bob")');
    // What no rule allows.
    const refused = (page: Page, code: string) => page.evaluate(`(async () => { try { await ${code} } catch (error) { return error.code } })()`);
    expect(await refused(bob, `client.publish('greetings', 'mine')`)).toBe(403);
    expect(await refused(bob, `client.subscribe('*', { pattern: true }, () => {}).ready`)).toBe(403);
    expect(await refused(bob, `client.subscribe('users.ann.mail', () => {}).ready`)).toBe(403);
    expect(await refused(bob, `client.subscribe('users.bob.mail', () => {}).ready`)).toBe(undefined);
  } finally {
    server?.kill();
    await browser.close();
    rmSync(dir, { recursive: true, force: true });
  }
});
