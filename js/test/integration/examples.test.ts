// The examples for frameworks, compiled as their users do it, in a real browser against a real server.
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { launch } from '../support/launch.js';
import { bundle } from '../support/bundle.js';
import { patience } from '../support/patience.js';
import { TestServer, nodeClient } from '../support/server.js';

let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

describe.each(['react.tsx', 'vue.ts', 'svelte.ts', 'solid.tsx', 'angular.ts'])('the example %s', (example) => {
  it('shows the result of a call, events, and the state of the connection as it changes', async () => {
    const server = await new TestServer().start();
    const author = nodeClient(server.url());
    const page = await (await browser.newContext()).newPage();
    const errors: string[] = [];
    page.on('pageerror', (error) => errors.push(String(error)));
    try {
      // The examples name the address of a server that runs by itself.
      await page.addInitScript((url) => {
        window.WebSocket = class extends WebSocket {
          constructor(_: string | URL, protocols?: string | string[]) {
            super(url, protocols);
          }
        };
      }, server.url());
      await page.goto(server.origin);
      await page.evaluate(() => document.body.append(document.createElement('main')));
      await page.addScriptTag({ type: 'module', content: await bundle(`test/examples/${example}`) });
      const shows = (text: string) => page.waitForFunction((text) => document.body.innerText.includes(text), text);
      const says = (text: string) =>
        vi.waitFor(async () => {
          await author.publish('chat.go', { from: 'ann', text });
          expect(await page.innerText('main')).toContain(`ann: ${text}`);
        }, patience);

      await shows('og');
      await shows('open');
      await says('hello');
      await server.kill();
      await shows('waiting');
      await server.start();
      await shows('open');
      await says('hello again');
      expect(errors).toEqual([]);
    } finally {
      await page.context().close();
      await author.close();
      await server.kill();
    }
  });
});
