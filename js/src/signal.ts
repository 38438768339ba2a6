import { JugglerError } from './error.js';

/** Why a signal was aborted. React Native's signals do not say. */
export const abortReason = (signal: AbortSignal): unknown =>
  signal.reason ?? new JugglerError(499, 'aborted', 'unknown');

/** What is to be run when a signal is aborted. */
const watches = new WeakMap<AbortSignal, Set<() => void>>();

/**
 * Runs something when a signal is aborted; the function returned ends that.
 * A signal has one listener however much depends on it, as Node warns of a
 * leak at the eleventh.
 */
export function onAbort(signal: AbortSignal, run: () => void): () => void {
  const known = watches.get(signal);
  const all = known ?? new Set();
  all.add(run);
  if (!known) {
    watches.set(signal, all);
    signal.addEventListener('abort', () => all.forEach((run) => run()));
  }
  return () => void all.delete(run);
}
