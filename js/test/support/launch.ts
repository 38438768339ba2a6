import { existsSync } from 'node:fs';
import { chromium, type Browser } from 'playwright-core';
import { patience } from './patience.js';

/** Starts the machine's Chromium; none is downloaded. */
export async function launch(): Promise<Browser> {
  const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium';
  if (!existsSync(executablePath)) {
    throw new Error(`${executablePath} is missing: install Debian's chromium, or set CHROMIUM to a Chromium or Chrome`);
  }
  const browser = await chromium.launch({
    timeout: patience,
    executablePath,
    // As people have it: pages that are left may come back as they were.
    ignoreDefaultArgs: ['--disable-back-forward-cache'],
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  const newContext = browser.newContext.bind(browser); // newPage takes it, too
  browser.newContext = async (options) => {
    const context = await newContext(options);
    context.setDefaultTimeout(patience);
    return context;
  };
  return browser;
}
