// People in a real browser, while the system is deployed anew: node web/test/e2e.mjs URL PID, where
// PID is the process of ./run cluster, whose output comes in. SHOTS=folder keeps pictures.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const [url, pid] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const patience = 60_000;
const complaints = [];

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
});

/** A person's device: a browser of its own. */
async function device(name) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  context.setDefaultTimeout(patience);
  const page = await context.newPage();
  page.on('console', (message) => message.type() !== 'log' && complaints.push(`${name}: ${message.text()}`));
  page.on('pageerror', (error) => complaints.push(`${name}: ${error}`));
  await page.goto(url);
  return page;
}

async function signIn(page, name) {
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Password').fill(name);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('log').waitFor();
}

async function say(page, text) {
  await page.getByLabel(/^Message to/).fill(text);
  await page.keyboard.press('Enter');
}

const room = (page, name) => page.getByRole('button', { name }).click();
const said = (page) => page.locator('[role=log] article:not(.draft) > p').allTextContents();
const answer = (page) => page.locator('.answer').textContent();

/** Waits until a function returns what is wanted. */
async function until(what, get, wanted) {
  for (const end = Date.now() + patience; ; ) {
    const got = await get();
    if (typeof wanted === 'function' ? wanted(got) : JSON.stringify(got) === JSON.stringify(wanted)) return got;
    if (Date.now() > end) assert.fail(`${what}: still ${JSON.stringify(got)}, not ${JSON.stringify(wanted) ?? ''}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** Looks for what hinders people, at three widths, in dark and light. */
async function inspect(page, what) {
  await page.evaluate(axe);
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    for (const width of [360, 820, 1280]) {
      await page.setViewportSize({ width, height: 800 });
      if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${what}-${colorScheme}-${width}.png` });
      const { violations } = await page.evaluate(() => window.axe.run());
      for (const { id, nodes } of violations) complaints.push(`${what}, ${colorScheme}, ${width}: ${id}: ${nodes.map((n) => n.html)}`);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (overflow > 0) complaints.push(`${what}, ${width}: ${overflow} pixels too wide`);
    }
  }
}

const scenes = {
  async 'nobody gets into a room without the right'() {
    const eve = await device('eve');
    await inspect(eve, 'login');
    await signIn(eve, 'eve');
    assert.equal(await eve.getByRole('navigation').getByRole('button').count(), 2);
    await eve.context().close();
  },

  async 'what is unread is the same on all devices'({ ann, bob }) {
    const phone = await device('bob’s phone');
    await signIn(phone, 'bob');
    const unread = (page) => page.locator('.unread').allTextContents();
    await room(ann, 'random');
    await say(ann, 'seen?');
    await until('bob’s two devices', async () => [...(await unread(bob)), ...(await unread(phone))], ['1 unread', '1 unread']);
    await room(phone, 'random');
    await until('read on the phone', async () => [...(await unread(bob)), ...(await unread(phone))], []);
    await room(ann, 'general');
    await phone.context().close();
  },

  async 'people see who is there and who types'({ ann, bob }) {
    await until('who is here', () => ann.getByText('Here:').textContent(), (text) => text.includes('bob'));
    await ann.getByLabel(/^Message to/).pressSequentially('hel');
    await bob.getByText('ann is typing…').waitFor();
    await say(ann, 'hello');
    await bob.getByText('hello', { exact: true }).waitFor();
  },

  async 'no message is lost or comes twice while everything is replaced'({ ann, bob }) {
    await bob.getByLabel('Question').fill('Why?');
    await bob.getByRole('button', { name: 'Ask' }).click();
    await until('the first words', () => answer(bob), (text) => text.length > 10);
    const written = [];
    let deployed = 0;
    const deploy = async () => {
      while (deployed < 2) {
        process.kill(Number(pid), 'SIGUSR1');
        await once(process.stdin, 'data', { signal: AbortSignal.timeout(patience) }); // ./run says that it is done
        deployed++;
      }
    };
    const write = async (page, name) => {
      for (let i = 0; deployed < 2 || i < 30; i++) {
        written.push(`${name} ${i}`);
        await say(page, `${name} ${i}`);
        await new Promise((done) => setTimeout(done, 150));
      }
    };
    await Promise.all([write(ann, 'ann'), write(bob, 'bob'), deploy()]);
    const newcomer = await device('newcomer');
    await signIn(newcomer, 'eve');
    await until('sent', () => ann.locator('.draft').count(), 0);
    await until('sent', () => bob.locator('.draft').count(), 0);
    const all = await until('all messages', () => said(ann), (texts) => texts.length >= written.length + 1);
    console.log(`${written.length} messages`);
    assert.deepEqual(all.toSorted(), ['hello', ...written].toSorted());
    for (const name of ['ann', 'bob']) {
      const numbers = all.filter((text) => text.startsWith(`${name} `)).map((text) => Number(text.split(' ')[1]));
      assert.deepEqual(numbers, numbers.toSorted((a, b) => a - b), `what ${name} wrote is in order`);
    }
    await until('bob sees the same', () => said(bob), all);
    await until('the database has the newest of it', () => said(newcomer), all.slice(-100));
    await newcomer.context().close();
  },

  async 'an answer goes on after a reload, until it is stopped'({ bob }) {
    const before = await answer(bob);
    await bob.reload();
    await until('all of the answer', () => answer(bob), (text) => text?.endsWith('That is all.') && text.startsWith(before));
    await bob.getByLabel('Question').fill('And?');
    await bob.getByRole('button', { name: 'Ask' }).click();
    await until('the next answer', () => answer(bob), (text) => text.startsWith('You ask: “And?”'));
    await bob.getByRole('button', { name: 'Stop' }).click();
    await bob.getByRole('button', { name: 'Stop' }).waitFor({ state: 'detached' });
  },

  async 'a report can be cancelled'({ ann }) {
    await ann.getByRole('button', { name: 'Count' }).click();
    await ann.getByRole('button', { name: 'Cancel' }).click();
    await ann.getByText('Cancelled.').waitFor();
  },

  async 'a report tells how far it is, and everybody can read the page'({ ann }) {
    await ann.getByRole('button', { name: 'Count' }).click();
    await until('progress', () => ann.getByRole('progressbar').getAttribute('value'), (value) => Number(value) > 0);
    await ann.getByText(/^ann: \d+, bob: \d+\.$/).waitFor();
    await inspect(ann, 'chat');
    await ann.getByRole('button', { name: 'Sign out' }).click();
    await ann.getByLabel('Name').waitFor();
    await signIn(ann, 'ann');
  },
};

try {
  const ann = await device('ann');
  const bob = await device('bob');
  await signIn(ann, 'ann');
  await signIn(bob, 'bob');
  for (const [name, play] of Object.entries(scenes)) {
    const begin = Date.now();
    await play({ ann, bob });
    console.log(`${name}: ${Date.now() - begin} ms`);
  }
} finally {
  for (const complaint of complaints) console.error(complaint);
  process.stdin.destroy();
  await browser.close();
}
assert.equal(complaints.length, 0, 'complaints');
