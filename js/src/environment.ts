import type { Connection } from './connection.js';
import { now } from './time.js';

/**
 * Has a connection find out what is left of it when the network has changed,
 * or the page is shown, be it from a cache. The function returned ends that.
 * The environment is the browser's, or whatever there is.
 */
export function watchEnvironment(connection: Connection): () => void {
  const wake = ({ type }: { type: string }): void => {
    if (type === 'visibilitychange' && document.visibilityState === 'hidden') return;
    const lost = type === 'offline';
    if (!lost) connection._wokenAt = now();
    if (connection._link || !lost) connection._connect();
  };
  const each = (method: 'addEventListener' | 'removeEventListener'): void => {
    for (const type of ['online', 'offline', 'visibilitychange']) globalThis[method]?.(type, wake);
  };
  each('addEventListener');
  return () => each('removeEventListener');
}
