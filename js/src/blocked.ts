import { PROBE_WAIT } from './constants.js';

/**
 * For the option `isBlocked`: whether something answers where a page could not open a WebSocket, or the
 * page's own policy forbids to ask. It then is not the network: something
 * refuses or blocks the handshake, of which a browser tells a page nothing.
 */
export async function isBlocked(url: string): Promise<boolean> {
  let blocked = false;
  const block = (): boolean => (blocked = true);
  const signal = AbortSignal.timeout(PROBE_WAIT);
  addEventListener('securitypolicyviolation', block, { signal });
  // A stranger's answer cannot be read, but that there is one can be known. The event comes a task later.
  await fetch(url.replace('ws', 'http'), { mode: 'no-cors', credentials: 'omit', cache: 'no-store', signal }).then(block, () => new Promise((resolve) => setTimeout(resolve)));
  return blocked;
}
