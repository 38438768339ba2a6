import { JugglerError } from './error.js';

/** Why a signal was aborted. React Native's signals do not say. */
export const abortReason = (signal: AbortSignal): unknown =>
  signal.reason ?? new JugglerError(499, 'aborted', 'unknown');

/** All that is to be run when a signal is aborted. */
class Watch extends Set<() => void> implements EventListenerObject {
  handleEvent(): void {
    for (const run of this) run();
  }
}

const watches = new WeakMap<AbortSignal, Watch>();

/**
 * Runs something when a signal is aborted; the function returned ends that.
 * A signal has one listener however much depends on it, as Node warns of a
 * leak at the eleventh.
 */
export function onAbort(signal: AbortSignal, run: () => void): () => void {
  const watch = watches.get(signal) ?? new Watch();
  if (!watch.size) {
    watches.set(signal, watch);
    signal.addEventListener('abort', watch);
  }
  watch.add(run);
  return () => {
    if (watch.delete(run) && !watch.size) signal.removeEventListener('abort', watch);
  };
}
