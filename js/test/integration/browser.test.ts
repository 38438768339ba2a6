// The client in a real browser against a real server.
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { makeClient, openPage } from '../support/browser.js';
import { launch } from '../support/launch.js';
import { patience } from '../support/patience.js';
import { TestServer } from '../support/server.js';

const server = new TestServer();
let browser: Browser;
let page: Page;

beforeAll(async () => {
  [browser] = await Promise.all([launch(), server.start()]);
});
afterAll(async () => {
  await browser.close();
  await server.kill();
});
beforeEach(async () => {
  page = await openPage(browser, server);
});
afterEach(() => page.context().close());

describe('calls', () => {
  beforeEach(() => makeClient(page, server.url()));

  it('return results, errors, and any JSON as it was', async () => {
    expect(
      await page.evaluate(async () => {
        const failure = await window.client.call('test.fail').catch((error: unknown) => error);
        const args = ['ünï 💥 \u2028', '\ud800', { ['__proto__']: 1 }, '💥'.repeat(15_000), 'x'.repeat(60_000)];
        const echoed = await Promise.all(args.map((value) => window.client.call('test.echo', value)));
        return {
          sum: await window.client.call('test.add', [1, 2]),
          typed: failure instanceof window.juggler.JugglerError && failure.code === 422 && failure.data,
          same: JSON.stringify(echoed) === JSON.stringify(args),
          states: window.states,
          errors: window.errors,
        };
      }),
    ).toEqual({ sum: 3, typed: { field: 'a' }, same: true, states: ['connecting', 'open'], errors: [] });
  });

  it('1,000 at once all come back', async () => {
    expect(
      await page.evaluate(async () => {
        const numbers = Array.from({ length: 1_000 }, (_, n) => n);
        const results = await Promise.all(numbers.map((n) => window.client.call('test.echo', n)));
        return results.every((result, n) => result === n);
      }),
    ).toBe(true);
  });

  it('are answered in parts', async () => {
    expect(
      await page.evaluate(async () => {
        const answer = window.juggler.stream(window.client, 'test.parts', 500);
        const got: number[] = [];
        for await (const part of answer) got.push(part);
        for await (const part of window.juggler.stream(window.client, 'test.parts', 1_000_000)) if (part > 100) break;
        return { same: got.every((part, i) => part === i + 1), count: got.length, result: await answer.result, errors: window.errors };
      }),
    ).toEqual({ same: true, count: 500, result: 500, errors: [] });
  });

  it('are cancelled by their signal', async () => {
    const { cancelled } = await server.get<{ cancelled: number }>('/control/counters');
    expect(
      await page.evaluate(async () => {
        const controller = new AbortController();
        const call = window.client.call('test.wait', undefined, { signal: controller.signal });
        const name = call.catch((error: Error) => error.name);
        await window.client.call('test.echo', 1);
        controller.abort();
        return name;
      }),
    ).toBe('AbortError');
    await vi.waitFor(async () => {
      expect((await server.get<{ cancelled: number }>('/control/counters')).cancelled).toBe(cancelled + 1);
    }, patience);
  });
});

describe('events', () => {
  it('10,000 arrive in order', async () => {
    await makeClient(page, server.url());
    await page.evaluate(async () => {
      (window as any).got = [];
      await window.client.subscribe('browser', ({ args }) => (window as any).got.push(args)).ready;
    });
    await server.post('/control/publish?channel=browser&n=10000');
    await page.waitForFunction(() => (window as any).got.length >= 10_000);
    expect(await page.evaluate(() => (window as any).got)).toEqual(Array.from({ length: 10_000 }, (_, n) => n));
  });
});

describe('a channel whose events are kept', () => {
  it('has no gap: 300 events that were missed come, in order', async () => {
    await page.evaluate(async (url) => {
      const sockets: WebSocket[] = [];
      const state = ((window as any).kept = { got: [] as unknown[], back: () => {} });
      let online = Promise.resolve();
      const client = (window.client = new window.juggler.Client(async () => (await online, url), {
        backoff: { min: 50, max: 200 },
        logger: () => {},
        WebSocket: class extends WebSocket {
          constructor(url: string, protocols: string[]) {
            super(url, protocols);
            sockets.push(this);
          }
        },
      }));
      await client.subscribe('kept.page', { onGap: () => state.got.push('gap') }, ({ args }) => state.got.push(args)).ready;
      online = new Promise((resolve) => (state.back = resolve));
      const lost = new Promise<void>((resolve) => client.on('state', ({ status }) => status === 'waiting' && resolve()));
      sockets[0]!.close();
      await lost;
    }, server.url());
    await server.post('/control/publish?channel=kept.page&n=300');
    await page.evaluate(() => ((window as any).kept.back(), window.client.publish('kept.page', 'after')));
    await page.waitForFunction(() => (window as any).kept.got.includes('after'));
    expect(await page.evaluate(() => (window as any).kept.got)).toEqual([...Array(300).keys(), 'after']);
  });
});

describe('other ways to load it', () => {
  it('as a module', async () => {
    expect(
      // As text, since the test runner would rewrite the import.
      await page.evaluate(`(async () => {
        const { Client } = await import('/dist/index.js');
        const client = new Client('${server.url()}');
        const result = await client.call('test.echo', 'module');
        await client.close();
        return result;
      })()`),
    ).toBe('module');
  });

  it('in a worker', async () => {
    expect(
      await page.evaluate(async (url) => {
        const code = `
          import { Client } from '${location.origin}/dist/index.js';
          const client = new Client('${url}');
          postMessage(await client.call('test.echo', 'worker'));`;
        const worker = new Worker(URL.createObjectURL(new Blob([code], { type: 'text/javascript' })), { type: 'module' });
        return new Promise((resolve, reject) => {
          worker.onmessage = ({ data }) => resolve(data);
          worker.onerror = ({ message }) => reject(new Error(message));
        });
      }, server.url()),
    ).toBe('worker');
  });
});

describe('refusals, as a browser sees them', () => {
  const outcome = (path: string) =>
    makeClient(page, server.url(path)).then(() =>
      page.evaluate(async () => {
        const error = await window.client.call('test.echo', 1, { timeout: 5_000 }).catch((reason: unknown) => reason);
        const { code, outcome } = error as InstanceType<typeof window.juggler.JugglerError>;
        return { code, outcome, status: window.client.state.status, refused: window.refused, states: window.states };
      }),
    );

  it('not authenticated', async () => {
    expect(await outcome('/refuse/401')).toMatchObject({ code: 4400, outcome: 'refused', status: 'closed', refused: { code: 4400 } });
  });

  it('not allowed', async () => {
    expect(await outcome('/refuse/403')).toMatchObject({ code: 4403, outcome: 'refused', status: 'closed', refused: { code: 4403 } });
  });

  it('overloaded: it tries again', async () => {
    const seen = await outcome('/refuse/503');
    expect(seen).toMatchObject({ code: 408, outcome: 'refused' });
    expect(seen.refused).toBeUndefined();
    expect(seen.states.slice(0, 3)).toEqual(['connecting', 'waiting', 'connecting']);
  });

  it('a foreign origin: it tries again', async () => {
    await page.goto(server.origin.replace('127.0.0.1', 'localhost'));
    await page.addScriptTag({ url: '/dist/juggler.min.js' });
    expect(await outcome('/strict')).toMatchObject({ code: 408, outcome: 'refused' });
  });

  it("the page's own policy: each try ends at once", async () => {
    const policy = `default-src 'self' 'unsafe-inline'; connect-src 'none'`;
    await page.route('**/policy', (route) =>
      route.fulfill({ headers: { 'content-security-policy': policy, 'content-type': 'text/html' }, body: '<!doctype html>' }),
    );
    await page.goto(`${server.origin}/policy`);
    await page.addScriptTag({ url: '/dist/juggler.min.js' });
    await makeClient(page, server.url(), { connectTimeout: 3_600_000 });
    const violation = page.evaluate(async () => {
      const { blockedURI, effectiveDirective } = await new Promise<SecurityPolicyViolationEvent>((resolve) => {
        document.addEventListener('securitypolicyviolation', resolve, { once: true });
        window.client.connect();
      });
      return { blockedURI, effectiveDirective };
    });
    expect(await violation).toEqual({ blockedURI: server.url(), effectiveDirective: 'connect-src' });
    await page.waitForFunction(() => window.states.filter((status) => status === 'waiting').length > 2);
  });

  it('a token that is wrong', async () => {
    await page.evaluate((url) => {
      window.client = new window.juggler.Client(url, { auth: async () => 'wrong', logger: () => {} });
      window.client.on('refused', ({ code, message }) => (window.refused = { code, message }));
      window.client.connect();
    }, server.url('/auth'));
    await page.waitForFunction(() => window.refused);
    expect(await page.evaluate(() => window.refused)).toMatchObject({ code: 401 });
  });
});

describe('a token that expires', () => {
  it('is renewed', async () => {
    expect(
      await page.evaluate(async (url) => {
        let tokens = 0;
        const states: string[] = [];
        const client = new window.juggler.Client(url, { auth: async () => (tokens++, 'for 4000') });
        client.on('state', ({ status }) => states.push(status));
        await client.call('test.echo', 1);
        await new Promise((resolve) => setTimeout(resolve, 4_500));
        await client.call('test.echo', 2);
        return { renewed: tokens > 1, states };
      }, server.url('/auth')),
    ).toEqual({ renewed: true, states: ['connecting', 'open'] });
  });
});

describe('a server that is killed and restarted', () => {
  it('calls under way are lost, subscriptions come back with a gap', async () => {
    const own = await new TestServer().start();
    try {
      await makeClient(page, own.url());
      await page.evaluate(async () => {
        (window as any).got = [];
        const onGap = ({ reason }: { reason: string }) => void (window as any).got.push(reason);
        await window.client.subscribe('x', { onGap }, ({ args }) => (window as any).got.push(args)).ready;
        (window as any).lost = window.client.call('test.wait').catch(({ code, outcome }) => ({ code, outcome }));
        await window.client.call('test.echo', 1);
      });
      await own.kill();
      expect(await page.evaluate(() => (window as any).lost)).toEqual({ code: 1006, outcome: 'unknown' });
      const waiting = page.evaluate(() => window.client.call('test.add', [1, 2]));
      await own.start();
      expect(await waiting).toBe(3);
      await page.evaluate(() => window.client.publish('x', 'after'));
      await page.waitForFunction(() => (window as any).got.length === 2);
      expect(await page.evaluate(() => (window as any).got)).toEqual(['reconnect', 'after']);
    } finally {
      await own.kill();
    }
  });
});

describe('a node that is drained', () => {
  it('loses no call', async () => {
    await makeClient(page, server.url());
    await page.evaluate(async () => {
      await window.client.call('test.echo', 0);
      (window as any).draining = true;
      (window as any).done = (async () => {
        let n = 0;
        while ((window as any).draining) if ((await window.client.call('test.echo', n)) === n) n++;
        return n;
      })();
    });
    await server.post('/control/drain');
    const { calls, states } = await page.evaluate(async () => {
      (window as any).draining = false;
      return { calls: (await (window as any).done) as number, states: window.states };
    });
    expect(calls).toBeGreaterThan(0);
    expect(states).toEqual(['connecting', 'open', 'open']);
  });
});

/** Headless pages are always visible: this says and tells that they are not. */
function setVisibility(page: Page, state: DocumentVisibilityState): Promise<void> {
  return page.evaluate((state) => {
    Object.defineProperty(document, 'visibilityState', { configurable: true, value: state });
    document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
  }, state);
}

describe('the network', () => {
  it('back online, it connects at once', async () => {
    const own = await new TestServer().start();
    try {
      await makeClient(page, own.url(), { backoff: { min: 3_600_000, max: 3_600_000 } });
      await page.evaluate(() => window.client.call('test.echo', 1));
      await page.context().setOffline(true);
      await own.kill();
      await page.waitForFunction(() => window.client.state.status === 'waiting');
      await own.start();
      await page.context().setOffline(false);
      expect(await page.evaluate(() => window.client.call('test.echo', 2))).toBe(2);
      expect(await page.evaluate(() => window.states)).toEqual(['connecting', 'open', 'waiting', 'connecting', 'open']);
    } finally {
      await own.kill();
    }
  });
});

describe('the page', () => {
  it('hidden, it connects at once when the network is back', async () => {
    await makeClient(page, 'ws://127.0.0.1:1/', { backoff: { min: 3_600_000, max: 3_600_000 } });
    await page.evaluate(() => window.client.connect());
    await page.waitForFunction(() => window.client.state.status === 'waiting');
    await setVisibility(page, 'hidden');
    await page.evaluate(() => void dispatchEvent(new Event('online')));
    await page.waitForFunction(() => window.states.filter((status) => status === 'connecting').length === 2);
  });

  it('left and come back to, it connects at once', async () => {
    await makeClient(page, server.url(), { backoff: { min: 3_600_000, max: 3_600_000 } });
    await page.evaluate(() => window.client.call('test.echo', 1));
    await page.goto(`${server.origin}/dist/index.js`); // Which ends the connection.
    await page.goBack({ waitUntil: 'commit' }); // Nothing is loaded: it comes as it was left.
    await page.waitForFunction(() => window.states.filter((status) => status === 'open').length === 2);
  });

  it('hidden and shown again, it finds out that the connection is gone', async () => {
    const own = await new TestServer().start();
    try {
      await makeClient(page, own.url(), { backoff: { min: 3_600_000, max: 3_600_000 } });
      await page.evaluate(() => window.client.call('test.echo', 1));
      await setVisibility(page, 'hidden');
      await own.kill();
      await page.waitForFunction(() => window.client.state.status === 'waiting');
      await own.start();
      await setVisibility(page, 'visible');
      await page.waitForFunction(() => window.client.state.status === 'open');
      expect(await page.evaluate(() => window.client.call('test.echo', 2))).toBe(2);
    } finally {
      await own.kill();
    }
  });

  it('suspended for long, it connects again and tells of the gap', async () => {
    await makeClient(page, server.url('/small')); // PING every second
    await page.evaluate(async () => {
      (window as any).gaps = 0;
      await window.client.subscribe('x', { onGap: () => (window as any).gaps++ }, () => {}).ready;
    });
    const session = await page.context().newCDPSession(page);
    await session.send('Debugger.enable');
    await session.send('Debugger.pause'); // at the next PING
    await new Promise((resolve) => setTimeout(resolve, 4_000)); // The server closes a client that answers no PING.
    await session.send('Debugger.disable');
    await page.waitForFunction(() => (window as any).gaps > 0);
    expect(await page.evaluate(() => window.client.call('test.echo', 1))).toBe(1);
    const states = await page.evaluate(() => window.states);
    expect(states.slice(0, 5)).toEqual(['connecting', 'open', 'waiting', 'connecting', 'open']);
  });
});
