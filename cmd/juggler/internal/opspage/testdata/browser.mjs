// Looks at the page for operators in Chromium: node browser.mjs URL NAME. NAME is a user, a
// channel and a URI that are there, and "served NAME" a URI with a callee. Says what is wrong, and exits with 1 then.
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'

const require = createRequire(new URL('../../../../../js/package.json', import.meta.url))
const { chromium } = require('playwright-core')
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')
const [url, name] = process.argv.slice(2)

const wrong = []
const check = (ok, what) => { if (!ok) wrong.push(what) }

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--no-first-run'],
})
for (const [width, colorScheme] of [[390, 'dark'], [820, 'light'], [1440, 'dark']]) {
  const at = `${width} px, ${colorScheme}: `
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme })
  context.setDefaultTimeout(30_000)
  const page = await context.newPage()
  page.on('console', (m) => check(m.type() !== 'error' && m.type() !== 'warning', `${at}console: ${m.text()}`))
  page.on('pageerror', (e) => check(false, `${at}${e}`))
  page.on('request', (r) => check(r.url().startsWith(url), `${at}asks ${r.url()}`))
  await page.goto(url)
  await page.getByText('ready', { exact: true }).waitFor()

  // What strangers choose is text, and what turns the direction of text around is shown.
  const shown = name.replaceAll('\u202e', '\\u{202e}')
  for (const id of ['top-calls', 'top-publications', 'top-events']) {
    await page.locator(`#${id} td`, { hasText: shown }).first().waitFor()
  }
  await page.locator('#queues tr', { hasText: `served ${shown}` }).waitFor()
  await page.locator('#notable', { hasText: 'calls to URIs without a callee (404)' }).waitFor()

  // The keyboard does it all.
  await page.locator('#whom').focus()
  await page.keyboard.type(name)
  await page.keyboard.press('Tab')
  await page.keyboard.press('Space') // with args
  await page.locator('#whom').press('Enter')
  await page.locator('#frames td', { hasText: shown }).first().waitFor()
  await page.locator('#frames tr', { hasText: 'NACK' }).first().waitFor()
  const types = await page.locator('#frames tbody tr td:nth-child(4)').allTextContents()
  check(types.includes('CALL'), `${at}the frames are ${types.slice(0, 20)}`)

  await page.evaluate(axe)
  const { violations } = await page.evaluate(() => window.axe.run())
  for (const v of violations) check(false, `${at}axe: ${v.id}: ${v.help}: ${v.nodes.map((n) => n.html.slice(0, 200))}`)
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth])
  check(wide <= room, `${at}the page is ${wide} px wide`)
  check(await page.evaluate(() => !('hacked' in window) && !document.querySelector('img, main script')), `${at}a name was taken for markup`)

  await page.locator('#stop').focus()
  await page.keyboard.press('Enter')
  await page.locator('#following', { hasText: 'Stopped' }).waitFor()
  if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${width}-${colorScheme}.png`, fullPage: true })
  await context.close()
}
await browser.close()
for (const what of wrong) console.log(what)
process.exitCode = wrong.length > 0 ? 1 : 0
