import type { Browser, Page } from 'playwright-core';
import type * as Juggler from '../../src/index.js';
import type { TestContract, TestServer } from './server.js';

declare global {
  interface Window {
    /** The package, from its build for a plain <script>. */
    juggler: typeof Juggler;
    client: Juggler.Client<TestContract>;
    /** The states that the client went through, and what it reported. */
    states: string[];
    errors: { code: number; message: string }[];
    refused: { code: number; message: string } | undefined;
  }
}

/** Opens an empty page of the server's own origin that has loaded the package. */
export async function openPage(browser: Browser, server: TestServer): Promise<Page> {
  const context = await browser.newContext();
  const page = await context.newPage();
  page.on('pageerror', (error) => console.error('in the page:', error));
  await page.goto(server.origin);
  await page.addScriptTag({ url: '/dist/juggler.min.js' });
  return page;
}

/** Makes `window.client`. */
export function makeClient(page: Page, url: string, options: Juggler.ClientOptions = {}): Promise<void> {
  return page.evaluate(
    ([url, options]) => {
      window.states = [];
      window.errors = [];
      window.client = new window.juggler.Client<TestContract>(url, {
        backoff: { min: 50, max: 200 },
        logger: () => {},
        ...options,
      });
      window.client.on('state', ({ status }) => window.states.push(status));
      window.client.on('error', ({ code, message }) => window.errors.push({ code, message }));
      window.client.on('refused', ({ code, message }) => (window.refused = { code, message }));
    },
    [url, options] as const,
  );
}
