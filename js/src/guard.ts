import { JugglerError } from './error.js';

/** Runs code of the application. What it throws, or its promise rejects with, goes to `failed`. */
export function guard(code: () => unknown, failed: (cause: unknown) => void): void {
  try {
    const result = code() as PromiseLike<unknown> | null | undefined;
    if (typeof result?.then === 'function') result.then(undefined, failed);
  } catch (cause) {
    failed(cause);
  }
}

/** What to tell of it. */
export const thrown = (what: string, cause: unknown): JugglerError =>
  new JugglerError(500, `${what} threw: ${shown(cause)}`, 'failed', { cause });

/** A value as errors name it. */
export function shown(value: unknown): string {
  if (value instanceof Error) return String(value);
  if (Object(value) === value) return {}.toString.call(value);
  return typeof value === 'string' ? JSON.stringify(value) : String(value);
}
