// The page in a real browser, from the demo.
import axe from 'axe-core';
import type { Browser, BrowserContextOptions, Locator, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { launch } from '../../../../../../js/test/support/launch.js';
import { patience } from '../../../../../../js/test/support/patience.js';

const address = inject('playground');
let browser: Browser;
/** What pages have said on the console, or asked others for. */
let complaints: string[] = [];

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
  expect(complaints.splice(0)).toEqual([]);
});

async function open(options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on('console', (message) => complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => {
    if (new URL(request.url()).host !== new URL(address).host) complaints.push(request.url());
  });
  await page.goto(address);
  return page;
}

const form = (page: Page, name: 'Call' | 'Subscribe' | 'Publish'): Locator => page.getByRole('form', { name });

async function go(page: Page, name: 'Call' | 'Subscribe' | 'Publish'): Promise<Locator> {
  await page.getByRole('tab', { name }).click();
  return form(page, name);
}

async function call(page: Page, uri: string, args: string, parts = false): Promise<Locator> {
  const it = await go(page, 'Call');
  await it.getByLabel('URI').fill(uri);
  await it.getByLabel('Args').fill(args);
  await it.getByLabel('Answer in parts').setChecked(parts);
  await it.getByRole('button', { name: 'Call' }).click();
  return page.getByRole('article', { name: `Call of ${uri}` }).first();
}

async function subscribe(page: Page, channel: string, last = 0, here = false): Promise<Locator> {
  const it = await go(page, 'Subscribe');
  await it.getByLabel('Channel').fill(channel);
  await it.getByLabel('Last').fill(`${last}`);
  await it.getByLabel('Who is there').setChecked(here);
  await it.getByRole('button', { name: 'Subscribe' }).click();
  const card = page.getByRole('article', { name: `Subscription to ${channel}` });
  await reads(card.getByRole('status'), 'live');
  return card;
}

async function publish(page: Page, channel: string, args: string): Promise<void> {
  const it = await go(page, 'Publish');
  await it.getByLabel('Channel').fill(channel);
  await it.getByLabel('Args').fill(args);
  await it.getByRole('button', { name: 'Publish' }).click();
  await reads(it.getByRole('status'), /published in/);
}

/** Waits until this is what somebody reads there. */
const reads = (where: Locator, what: string | RegExp): Promise<void> =>
  vi.waitFor(async () => expect(await where.innerText()).toMatch(what), { timeout: patience, interval: 20 });

const lines = (page: Page): Locator => page.getByRole('list', { name: 'Frames' }).locator('summary');

/** A channel that no other test uses. */
let channels = 0;
const channel = (): string => `room.test-${process.pid}-${++channels}`;

describe('calls', () => {
  it('have their result, or their error', async () => {
    const page = await open();
    await reads(await call(page, 'test.reverse', '"abc"'), /done[^]*"cba"/);
    await reads(await call(page, 'test.reverse', '7'), /failed[^]*400[^]*\(failed\)/);
    await reads(await call(page, 'nobody.there', ''), /404/);
  });

  it('cannot be made while their args are no JSON', async () => {
    const page = await open();
    const args = form(page, 'Call').getByLabel('Args');
    await args.fill('{"a": 1,}');
    await reads(form(page, 'Call'), /position 8/);
    expect(await form(page, 'Call').getByRole('button').isDisabled()).toBe(true);
    expect(await args.getAttribute('aria-invalid')).toBe('true');
    await args.press('Control+Enter');
    await args.fill('{"a": 1}');
    await args.press('Control+Enter');
    await reads(page.getByRole('article').first(), /"a": 1/);
    expect(await page.getByRole('article').count()).toBe(1);
  });

  it('have the numbers that were typed, whatever JavaScript makes of them', async () => {
    const page = await open();
    await reads(await call(page, 'test.echo', '[12345678901234567890, 1.0, 1e400]'), /done/);
    await reads(lines(page).last(), /"args":\[12345678901234567890,1.0,1e400\]/);
  });

  it('show their parts as they come, the newest ones', async () => {
    const page = await open();
    const card = await call(page, 'test.count', '500', true);
    await reads(card, /done[^]*500 parts/);
    const parts = card.getByRole('list', { name: 'Parts' }).getByRole('listitem');
    expect([await parts.count(), await parts.first().innerText(), await parts.last().innerText()]).toEqual([50, '451', '500']);
  });

  it('are cancelled, at their callee too', async () => {
    const page = await open();
    const card = await call(page, 'test.delay', '3600000');
    await reads(card, /running/);
    await reads(lines(page).last(), /ACK/); // one that has not been sent is not cancelled at the callee
    await card.getByRole('button', { name: 'Cancel' }).click();
    await reads(card, /failed[^]*499/);
    await reads(page.getByRole('list', { name: 'Frames' }), /CANCEL[^]*RES/);
  });

  it('with a key are made once', async () => {
    const page = await open();
    const key = `key-${channel()}`;
    await form(page, 'Call').getByLabel('Key').fill(key);
    await reads(await call(page, 'test.echo', '1'), /done/);
    await call(page, 'test.echo', '2');
    await reads(page.getByRole('article').first(), /409/);
  });
});

describe('subscriptions', () => {
  it('show the last events, those that come, and who is there', async () => {
    const name = channel();
    const [ann, bob] = await Promise.all([open(), open()]);
    await bob.getByLabel('URL').fill(`${await bob.getByLabel('URL').inputValue()}`.replace('ann', 'bob'));
    for (const n of [1, 2, 3]) await publish(ann, name, `${n}`);
    const card = await subscribe(bob, name, 2, true);
    const events = card.getByRole('list', { name: 'Events' });
    await reads(events, /^3\s2$/);
    await reads(card, /There: bob$/m);
    const hers = await subscribe(ann, name, 0, true);
    await reads(card, /There: (ann, bob|bob, ann)$/m);
    await publish(ann, name, '{"n": 4}');
    await reads(events, /^\{"n":4\}\s3\s2$/);
    await reads(hers, /1 events/);
    await card.getByRole('button', { name: 'Unsubscribe' }).click();
    expect(await card.count()).toBe(0);
  });

  it('to a pattern show from which channel events come', async () => {
    const name = channel();
    const page = await open();
    const it = await go(page, 'Subscribe');
    await it.getByLabel('Pattern').check();
    await it.getByLabel('Pattern', { exact: true }).first().fill(`${name}.*`);
    await it.getByRole('button', { name: 'Subscribe' }).click();
    const card = page.getByRole('article');
    await reads(card, /live/);
    await publish(page, `${name}.x`, '1');
    await reads(card, `${name}.x 1`);
  });

  it('go on after a disconnection without a gap', async () => {
    const name = channel();
    const [ann, bob] = await Promise.all([open(), open()]);
    const card = await subscribe(ann, name);
    await publish(bob, name, '1');
    await reads(card, /1 events/);
    await ann.getByRole('button', { name: 'Disconnect' }).click();
    await reads(ann.getByRole('banner').getByRole('status'), /not connected/);
    await publish(bob, name, '2');
    await ann.getByRole('button', { name: 'Connect' }).click();
    await reads(card.getByRole('list', { name: 'Events' }), /^2\s1$/);
    expect(await card.innerText()).not.toMatch(/gaps/);
  });
});

describe('juggler.0', () => {
  it('has calls, their errors, and events', async () => {
    const name = channel();
    const page = await open();
    await page.getByLabel('Protocol').selectOption('juggler.0');
    await reads(await call(page, 'test.reverse', '"abc"'), /done[^]*"cba"/);
    await reads(await call(page, 'test.reverse', '7'), /failed[^]*want a string/);
    const card = await subscribe(page, name);
    await publish(page, name, '{"n": 1}');
    await reads(card, /1 events[^]*\{"n":1\}/);
    await card.getByRole('button', { name: 'Unsubscribe' }).click();
    await reads(lines(page).last(), new RegExp(`ACK\\s+${name}.*\\s+[\\d.]+ ms`));
    await reads(page.getByRole('region', { name: 'Timeline' }), /OPEN[^]*juggler.0[^]*\{"meta":\{"type":1,/);
    expect(await page.getByLabel('Token').isDisabled()).toBe(true);
    await page.getByLabel('Protocol').selectOption('juggler.1');
    await page.getByRole('button', { name: 'Connect' }).click();
    await reads(lines(page).last(), /HELLO/);
  });
});

describe('the timeline', () => {
  it('has the frames of both directions, with what they took, and can be filtered, paused, copied and cleared', async () => {
    const page = await open({ permissions: ['clipboard-read', 'clipboard-write'] });
    await reads(await call(page, 'test.echo', '"first"'), /done/);
    await reads(lines(page).last(), /RES\s+test.echo\s+[\d.]+ ms/);
    const filter = page.getByRole('searchbox');
    await filter.fill('sent echo');
    await vi.waitFor(async () => expect(await lines(page).count()).toBe(1), patience);
    await reads(lines(page).first(), /CALL/);
    await lines(page).first().click();
    await reads(page.getByRole('list', { name: 'Frames' }), /"args": "first"/);
    await page.getByRole('button', { name: 'Copy the frames' }).click();
    await reads(page.getByRole('button', { name: 'Copy the frames' }), 'Copied');
    expect(await page.evaluate(() => navigator.clipboard.readText())).toMatch(/^[\d:.]+ → \{"type":"CALL".*\}$/);

    await page.getByRole('button', { name: 'Pause' }).click();
    await reads(await call(page, 'test.echo', '"second"'), /"second"/);
    expect(await lines(page).count()).toBe(1);
    await page.getByRole('button', { name: 'Pause' }).click();
    await vi.waitFor(async () => expect(await lines(page).count()).toBe(2), patience);
    await filter.fill('');
    await page.getByRole('button', { name: 'Clear' }).click();
    await vi.waitFor(async () => expect(await lines(page).count()).toBe(0), patience);
  });

  it('is bounded', async () => {
    const page = await open();
    await reads(await call(page, 'test.count', '1500', true), /1500 parts/);
    await reads(page.getByRole('region', { name: 'Timeline' }), /300 of 1000/);
    expect(await lines(page).count()).toBe(300);
  });
});

it('the page may connect to its own server only, and loads nothing from elsewhere', async () => {
  const page = await open();
  const refused = await page.evaluate(async () => {
    const cannotFetch = await fetch('http://127.0.0.1:1/').catch((error: Error) => error.name);
    try {
      document.body.innerHTML = '<b>';
    } catch (error) {
      return [cannotFetch, (error as Error).name];
    }
    return [];
  });
  expect(refused).toEqual(['TypeError', 'TypeError']);
  await vi.waitFor(() => expect(complaints.join()).toMatch(/"connect-src 'self'"[^]*TrustedHTML/), patience);
  complaints = [];
  await page.getByLabel('URL').fill('ws://example.com/');
  await reads(page.getByRole('form', { name: 'Connection' }), /may connect to ws:\/\/127.0.0.1:\d+ only/);
  expect(await form(page, 'Call').getByRole('button').isDisabled()).toBe(true);
});

it('a token is sent, and not shown', async () => {
  const page = await open();
  await page.getByLabel('URL').fill(`${await page.getByLabel('URL').inputValue()}&token=hunter1`);
  await page.getByLabel('Token').fill('hunter2');
  const sent = page.waitForEvent('websocket').then((socket) => socket.waitForEvent('framesent'));
  await page.getByRole('button', { name: 'Connect' }).click();
  expect((await sent).payload).toMatch(/"AUTH".*"hunter2"/);
  await reads(page.getByRole('banner').getByRole('status'), /takes no AUTH/); // the demo
  await reads(page.getByRole('list', { name: 'Frames' }), /OPEN[^]*AUTH[^]*"token":"…"/);
  expect(await page.getByRole('list', { name: 'Frames' }).innerText()).not.toMatch(/hunter/);
});

it('the snippets show what was done last', async () => {
  const page = await open();
  await reads(await call(page, 'test.echo', '{"a": 1}'), /done/);
  const snippets = page.getByRole('region', { name: 'Snippets' });
  await reads(snippets, /client.call\("test.echo", \{"a":1\}/);
  await snippets.getByRole('tab', { name: 'Go' }).click();
  await reads(snippets, /c\.Call\(ctx, "test.echo", json.RawMessage\(`\{"a":1\}`\)/);
  await snippets.getByRole('tab', { name: 'wscat' }).click();
  await reads(snippets, /wscat -s juggler.1 -c/);
});

it('all of it works by keyboard', async () => {
  const page = await open();
  const press = async (...keys: string[]): Promise<void> => {
    for (const key of keys) await page.keyboard.press(key);
  };
  const focused = (): Promise<string> => page.evaluate(() => document.activeElement!.textContent!);
  await press('Tab', 'Tab', 'Tab', 'Tab', 'Enter'); // URL, protocol, token, Connect
  await reads(page.getByRole('banner').getByRole('status'), /connected/);
  await press('Tab');
  expect(await focused()).toBe('Call');
  await press('ArrowRight');
  expect(await focused()).toBe('Subscribe');
  expect(await form(page, 'Subscribe').isVisible()).toBe(true);
  await press('End');
  expect(await focused()).toBe('Publish');
  await press('Home', 'Tab', 'Control+a');
  await page.keyboard.type('test.echo');
  await press('Tab', 'Control+a');
  await page.keyboard.type('"typed"');
  await press('Control+Enter');
  await reads(page.getByRole('article'), /"typed"/);
  await reads(lines(page).last(), /RES/);
  await lines(page).last().focus();
  await press('Enter');
  await reads(page.getByRole('list', { name: 'Frames' }), /"type": "RES"/);
  // Who goes on comes past everything, and sees where that is.
  await page.getByLabel('URL').focus();
  const passed: string[] = [];
  for (;;) {
    await press('Tab');
    const [name, outline] = await page.evaluate(() => {
      const at = document.activeElement!;
      return [at === document.body ? '' : (at.getAttribute('aria-label') ?? at.textContent!), getComputedStyle(at).outlineStyle];
    });
    if (!name && passed.includes('Copy Go code')) break; // behind the last it is the browser's own
    expect([name, outline]).toEqual([name, 'solid']);
    passed.push(name!);
    if (name === 'TypeScript') await press('ArrowRight');
  }
  expect(passed).toEqual(expect.arrayContaining(['Call', 'Copy result', 'Pause', 'Clear', 'Copy frame', 'Go code']));
});

it('is accessible, and fits, at three widths in light and dark', async () => {
  const page = await open({ bypassCSP: true }); // axe is no part of the page
  const name = channel();
  await subscribe(page, name, 0, true);
  await publish(page, name, '1');
  await reads(await call(page, 'nobody.there', ''), /404/);
  await reads(await call(page, 'test.count', '40', true), /40 parts/);
  await call(page, 'test.delay', '3600000');
  await form(page, 'Call').getByLabel('Args').fill('{');
  await lines(page).last().click();
  await page.evaluate(axe.source);
  for (const width of [1440, 820, 390]) {
    await page.setViewportSize({ width, height: 900 });
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      const rules = colorScheme === 'light' ? {} : { runOnly: ['color-contrast'] }; // the others are the same
      const { violations } = await page.evaluate((rules) => (window as unknown as { axe: typeof axe }).axe.run(rules), rules);
      const found = violations.map(({ id, nodes }) => [id, nodes.map(({ html, failureSummary }) => [html, failureSummary])]);
      expect([width, colorScheme, ...found]).toEqual([width, colorScheme]);
    }
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBe(0);
  }
});
