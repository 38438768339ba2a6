// Looks at the site that was built, in a browser: no page is missing, no link leads to
// nothing, nothing is loaded from elsewhere, nothing fails, and the search finds.
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname } from 'node:path';
import { chromium } from 'playwright-core';
import { paths } from './pages.mjs';

const types = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.json': 'application/json' };
const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, 'http://site');
  const file = pathname.endsWith('/') ? `${pathname}index.html` : extname(pathname) ? pathname : `${pathname}.html`;
  try {
    const content = await readFile(new URL(`.vitepress/dist${file}`, import.meta.url));
    response.writeHead(200, { 'content-type': types[extname(file)] ?? 'application/octet-stream' }).end(content);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((listens) => server.listen(0, '127.0.0.1', listens));
const origin = `http://127.0.0.1:${server.address().port}`;

const wrong = [];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-background-networking'] });
const page = await browser.newPage();
page.on('console', (message) => message.type() === 'error' && wrong.push(`${page.url()} says: ${message.text()}`));
page.on('pageerror', (error) => wrong.push(`${page.url()} fails: ${error.message}`));
page.on('request', (request) => {
  if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(origin)) wrong.push(`${page.url()} loads ${request.url()}`);
});
page.on('response', (response) => response.status() >= 400 && wrong.push(`${page.url()} lacks ${response.url()}`));

const links = new Map(); // of each page: where it leads
const ids = new Map(); // of each page: what can be led to
for (const path of paths.values()) {
  const at = `/${path.replace(/^index$/, '')}`;
  await page.goto(origin + at, { waitUntil: 'networkidle' });
  links.set(at, await page.locator('main a[href]').evaluateAll((all) => all.map((a) => a.href)));
  ids.set(at, new Set(await page.locator('[id]').evaluateAll((all) => all.map((e) => e.id))));
}
for (const [at, all] of links) {
  for (const link of all.filter((href) => href.startsWith(origin))) {
    const { pathname, hash } = new URL(link);
    const there = ids.get(pathname);
    if (!there) wrong.push(`${at} links to ${pathname}, which is no page`);
    else if (hash && !there.has(decodeURIComponent(hash.slice(1)))) wrong.push(`${at} links to ${pathname}${hash}, where there is no such heading`);
  }
}

await page.goto(origin);
await page.keyboard.press('Control+k');
await page.locator('.VPLocalSearchBox input').fill('slow consumer');
await page.locator('.VPLocalSearchBox .result').first().waitFor();

await browser.close();
server.close();
for (const what of wrong) console.error(what);
console.log(`${paths.size} pages, ${[...links.values()].flat().length} links, ${wrong.length} wrong`);
process.exitCode = wrong.length > 0 ? 1 : 0;
