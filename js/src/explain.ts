// What the console says in development, and only there: bundlers leave all of
// this out of what they build for production.
import { PROBE_WAIT } from './constants.js';
import type { LogLevel } from './types.js';

interface Logger {
  _log(level: LogLevel, message: string, detail?: unknown): void;
}

const said = /* @__PURE__ */ new Set<string>();
const explained = /* @__PURE__ */ new Set<string>();

/** Warns, once of the same. */
function warn(logger: Logger, text: string): void {
  if (said.has(text)) return;
  said.add(text);
  logger._log('warn', text);
}

/** Warns of a pattern that is subscribed to as a channel: nothing would ever come. */
export function doubtName(channel: unknown, pattern: boolean, logger: Logger): void {
  if (pattern || typeof channel !== 'string' || !channel.includes('*')) return;
  warn(logger, `subscribe('${channel}') is to the one channel of this name; for all that match: { pattern: true }`);
}

/**
 * Says what a browser does not tell the page about a handshake that failed:
 * what answers at the URL, as far as it lets that be read, and what to check.
 */
export async function explain(url: string, blocked: boolean, logger: Logger): Promise<void> {
  if (!blocked) return warn(logger, `${url}: nothing answers there. Is the server up, and are host and port right?`);
  if (explained.has(url)) return;
  explained.add(url);
  let policy: SecurityPolicyViolationEvent | undefined;
  addEventListener('securitypolicyviolation', (event) => (policy = event), { once: true });
  const address = url.replace('ws', 'http');
  const signal = AbortSignal.timeout(PROBE_WAIT);
  const readable = await fetch(address, { credentials: 'omit', cache: 'no-store', signal }).catch(() => undefined);
  await new Promise((resolve) => setTimeout(resolve)); // Until that event has come, if it comes.
  if (readable) return warn(logger, `${url}: ${await meaning(readable)}`);
  if (policy) {
    return warn(logger, `${url}: the page's Content-Security-Policy forbids it: its ${policy.effectiveDirective} needs ${new URL(url).origin}`);
  }
  warn(logger, `${url}: something answers there, but this page gets no WebSocket. ${foreign(new URL(address).origin)}${passedOn}`);
}

const passedOn = 'Is the path right, and does each proxy pass on Upgrade and Connection?';

/** What to check where the page is of another origin than the server. */
function foreign(other: string): string {
  const own = location.origin;
  if (own === other) return '';
  return `The page is of ${own}, not of ${other}: have the server allow that (juggler.WithOrigins("${own}"), \`juggler serve --origins ${own}\`), or connect to the page's own origin and have its server pass the path on (Vite: server.proxy, with ws: true). If that is so: `;
}

/** What an answer to a plain GET says about why no WebSocket opens. */
async function meaning(response: Response): Promise<string> {
  const { status, headers } = response;
  const type = headers.get('content-type') ?? '';
  const text = type.startsWith('text/plain') ? (await response.text().catch(() => '')).trim().slice(0, 300) : '';
  const answer = `a GET is answered with ${status}${type && `, ${type}`}${text && `: "${text}"`}`;
  return `${answer}. ${hint(status, type, text)}`;
}

function hint(status: number, type: string, text: string): string {
  if (/websocket|upgrade/i.test(text)) {
    return `A server of WebSockets is there: does it refuse those of pages of ${location.origin}, or does a proxy not pass on Upgrade and Connection?`;
  }
  if (status === 404) return 'Nothing serves this path: is it the one that the server has, and passed on by each proxy?';
  if (status === 401 || status === 403) return 'Something wants a sign-in, or does not let this page in.';
  if (status >= 500) return 'A proxy is up, and what is behind it is not.';
  if (type.startsWith('text/html')) return "That is a page, not juggler: a portal's, or that of a dev server which does not pass the path on.";
  return passedOn;
}
