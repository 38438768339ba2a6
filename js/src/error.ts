/**
 * What is known about a request that failed.
 *
 * - `refused`: certainly not done, so repeating it cannot do it twice.
 * - `failed`: the callee or the server answered with an error.
 * - `unknown`: it may have been done: its time ran out after it was sent, the
 *   callee died, or the connection was lost before the answer.
 */
export type Outcome = 'refused' | 'failed' | 'unknown';

/** The parts of an error that not every error has. */
export interface ErrorDetails {
  /** Any JSON value that the callee added. */
  data?: unknown;
  /** How long to wait before trying again, in milliseconds. */
  retryAfter?: number | undefined;
  /** Whether repeating the same request is safe and may help. */
  retryable?: boolean;
  /** See {@link JugglerError.blocked}. */
  blocked?: boolean | undefined;
  /** What led to it, as in `Error.cause`. */
  cause?: unknown;
}

/**
 * Makes objects that inherit from Error but are plain ones to the platform. Of
 * what `new Error` makes, structuredClone and postMessage keep only the message.
 */
const PlainError = function () {} as unknown as ErrorConstructor;
(PlainError as { prototype: Error }).prototype = Error.prototype;

/**
 * What calls, publications and subscriptions reject with, and what the client
 * reports. Only an aborted `AbortSignal` rejects with something else: its
 * reason, as `fetch` does.
 *
 * What it says is in enumerable properties: it stays there in JSON, in
 * `structuredClone` and over `postMessage`, where it becomes a plain object
 * that {@link JugglerError.is} knows.
 */
export class JugglerError extends PlainError {
  /**
   * Whether a value is such an error: of this copy of the package or of
   * another, or one that was cloned or came as JSON.
   */
  static is(value: unknown): value is JugglerError {
    const { name, code } = (value ?? {}) as Partial<JugglerError>;
    return name === 'JugglerError' && typeof code === 'number';
  }

  /** `instanceof`, too, knows those of other copies of the package. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return this === JugglerError ? JugglerError.is(value) : super[Symbol.hasInstance](value);
  }

  /**
   * A code of the protocol (400 malformed, 401 and 403 not allowed, 404 nobody
   * answers this URI, 408 out of time, 409 the key was used for something else,
   * 410 nothing is kept of the call, 413 too large, 429 too much, 499 stopped,
   * 500, 502 the callee died, 503 unavailable), the code that a callee chose, or, where
   * the connection ended, its WebSocket close code (1000 closed, 1006 lost,
   * 4400 not authenticated, 4403 not allowed, …).
   */
  readonly code!: number;
  /** What is known about the request; see {@link Outcome}. */
  readonly outcome!: Outcome;
  /** Any JSON value that the callee added, else undefined. */
  readonly data?: unknown;
  /** How long the server asks to wait before trying again, in milliseconds. */
  readonly retryAfter?: number | undefined;
  /**
   * Whether repeating the same request is safe and may help: it was certainly
   * not done, or the call was marked `idempotent`.
   */
  readonly retryable!: boolean;
  /**
   * Of a page that could not open a connection. True: something answers there,
   * so it is not the network: the server, a proxy or the page's policy refuses
   * the WebSocket, and a later try is likely to fail as well. False: nothing
   * answers. Undefined: that is not known, or not the question. See
   * `ClientOptions.isBlocked`.
   */
  readonly blocked?: boolean | undefined;

  constructor(code: number, message: string, outcome: Outcome = 'unknown', details: ErrorDetails = {}) {
    super();
    const { cause, ...more } = details;
    Object.assign(this, { retryable: false }, more, { name: 'JugglerError', message, code, outcome });
    const { captureStackTrace } = Error as { captureStackTrace?: (error: Error, leaveOut: unknown) => void };
    if (captureStackTrace) captureStackTrace(this, new.target);
    else hide(this, 'stack', new Error(message).stack);
    if (cause !== undefined) hide(this, 'cause', cause);
  }

  /** Stores and loggers tell errors by this. */
  get [Symbol.toStringTag](): string {
    return 'Error';
  }
}

/** Sets a property as `new Error` does: it is not enumerated. */
export function hide(object: object, key: PropertyKey, value: unknown): void {
  Object.defineProperty(object, key, { value, writable: true, configurable: true });
}

/** A number above 0, or something else. */
export const positive = <T>(value: unknown, otherwise: T): number | T =>
  typeof value === 'number' && value > 0 ? value : otherwise;

/** The `error` of a NACK or a RES, as far as a server can be trusted. */
interface WireError {
  code?: unknown;
  message?: unknown;
  data?: unknown;
  retry_after?: unknown;
}

/** Codes after which another try may succeed, of what was not done and of what may have been. */
const passing = [404, 429, 503];
const doubtful = [...passing, 408, 500, 502];

/** Makes a {@link JugglerError} of the error of a NACK or a RES. */
export function wireError(
  wire: unknown,
  isNack: boolean,
  request: { readonly _type: string; readonly _idempotent?: boolean },
): JugglerError {
  const { code, message, data, retry_after } = Object(wire) as WireError;
  const known = positive(code, 500);
  const retryAfter = positive(retry_after, undefined);
  // A NACK says that it was certainly not done; but 500 for a publication, that nobody knows.
  const isUnknown = isNack ? request._type === 'PUB' && known === 500 : known === 408 || known === 502;
  const outcome = isUnknown ? 'unknown' : isNack ? 'refused' : 'failed';
  return new JugglerError(known, typeof message === 'string' ? message : 'no reason given', outcome, {
    data,
    retryAfter,
    retryable: (request._idempotent ? doubtful : outcome === 'refused' ? passing : []).includes(known),
  });
}

/** Whether this close code says that the client sent what it may not. */
export const isViolation = (code: number): boolean => [1002, 1003, 1007, 1009, 1010].includes(code);
