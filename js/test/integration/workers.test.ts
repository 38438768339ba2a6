// Workers that pages of Chromium share: they outlive the page that started them.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { launch } from '../support/launch.js';
import { TestServer } from '../support/server.js';

const server = new TestServer();
let web: Server;
let browser: Browser;
let context: BrowserContext;

/** Scripts of the page's own origin, which both kinds of workers want. */
const scripts: Record<string, () => string> = {
  '/dist/index.js': () => readFileSync(join(import.meta.dirname, '../../dist/index.js'), 'utf8'),
  '/shared.js': () => `
    import { Client } from '/dist/index.js';
    const client = new Client('${server.url()}');
    const ports = [];
    const { ready } = client.subscribe('shared', ({ args }) => {
      for (const port of ports) port.postMessage(args);
    });
    onconnect = async ({ ports: [port] }) => {
      ports.push(port);
      await ready;
      port.onmessage = ({ data }) => client.publish('shared', data);
      port.postMessage(client.state.session);
    };`,
  '/service.js': () => `
    import { Client } from '/dist/index.js';
    const client = new Client('${server.url()}');
    onactivate = (event) => event.waitUntil(clients.claim());
    onmessage = (event) => event.waitUntil(
      client.call('test.echo', event.data).then((answer) => event.source.postMessage(answer)));`,
};

beforeAll(async () => {
  web = createServer(({ url = '' }, response) => {
    const script = scripts[url];
    response.setHeader('content-type', script ? 'text/javascript' : 'text/html');
    response.end(script?.() ?? '<!doctype html>');
  }).listen(0, '127.0.0.1');
  [browser] = await Promise.all([launch(), server.start(), once(web, 'listening')]);
  context = await browser.newContext();
});
afterAll(async () => {
  await browser.close();
  await server.kill();
  web.close();
});

async function openPage(): Promise<Page> {
  const page = await context.newPage();
  page.on('pageerror', (error) => console.error('in the page:', error));
  await page.goto(`http://127.0.0.1:${(web.address() as AddressInfo).port}/`);
  return page;
}

it('a shared worker has one connection for all its pages, which the first may leave', async () => {
  // A page has what its worker said in window.said.
  const open = async (): Promise<Page> => {
    const page = await openPage();
    await page.evaluate(() => {
      const { port } = new SharedWorker('/shared.js', { type: 'module' });
      const said: unknown[] = [];
      port.onmessage = ({ data }) => said.push(data);
      Object.assign(window, { said, port });
    });
    await page.waitForFunction('said.length > 0');
    return page;
  };
  const first = await open();
  const others = [await open(), await open()];
  const sessions = await Promise.all([first, ...others].map((page) => page.evaluate('said[0]')));
  expect(new Set(sessions).size).toBe(1);
  await first.close();
  await others[0]!.evaluate(`port.postMessage('hello')`);
  for (const page of others) await page.waitForFunction(`said[1] === 'hello'`);
});

it('a service worker calls for its page', async () => {
  const page = await openPage();
  const answer = page.evaluate(async () => {
    await navigator.serviceWorker.register('/service.js', { type: 'module' });
    const { active } = await navigator.serviceWorker.ready;
    return new Promise((resolve) => {
      navigator.serviceWorker.onmessage = ({ data }) => resolve(data);
      navigator.serviceWorker.startMessages();
      active!.postMessage('service');
    });
  });
  expect(await answer).toBe('service');
});
