import { JugglerError } from './error.js';

/** Why a signal was aborted. React Native's signals do not say. */
export const abortReason = (signal: AbortSignal): unknown =>
  signal.reason ?? new JugglerError(499, 'aborted', 'unknown');

interface Watch {
  readonly run: Set<() => void>;
  readonly listener: () => void;
}

const watched = new WeakMap<AbortSignal, Watch>();

/**
 * Runs something when a signal is aborted; the function returned ends that.
 * A signal has one listener however much depends on it, as Node warns of a
 * leak at the eleventh.
 */
export function onAbort(signal: AbortSignal, run: () => void): () => void {
  let watch = watched.get(signal);
  if (!watch) {
    const all = new Set<() => void>();
    watch = { run: all, listener: () => all.forEach((one) => one()) };
    watched.set(signal, watch);
    signal.addEventListener('abort', watch.listener);
  }
  const { run: all, listener } = watch;
  all.add(run);
  return () => {
    if (!all.delete(run) || all.size) return;
    watched.delete(signal);
    signal.removeEventListener('abort', listener);
  };
}
