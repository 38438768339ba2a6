// How a MockServer answers a call: at once, or in parts as the client takes them.

const isParts = (value: unknown): value is AsyncGenerator | Generator =>
  typeof (value as Partial<Generator> | null | undefined)?.next === 'function';

/** The error of a NACK or a RES. */
export interface WireError {
  code: number;
  message: string;
  data?: unknown;
  retry_after?: number | undefined;
}

/** What a RES says. */
export type Outcome = { args: unknown } | { error: WireError };

/** A call without an outcome, as its connection knows it. */
export interface UnderWay {
  /** The client takes so many parts besides. */
  more(parts: number): void;
  /** The client wants it no more; `stop`: nobody shall have it. */
  cancel(stop?: boolean): void;
}

/** A function that answers a call. */
export class MockCall implements UnderWay {
  readonly #controller = new AbortController();
  /** How many parts the client takes now; undefined: it wants none at all. */
  #window: number | undefined;
  #sent = 0;
  /** There is room for a part, or none is wanted any more. */
  #wake: (() => void) | undefined;

  constructor(window: number | undefined) {
    this.#window = window;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  more(parts: number): void {
    if (this.#window !== undefined) this.#window += parts;
    this.#wake?.();
  }

  cancel(): void {
    this.#controller.abort();
    this.#wake?.();
  }

  /**
   * The result of what a function gives. Its parts go to `send`, each once the
   * client takes it, until then the function rests. They are dropped where none
   * are wanted.
   */
  async answer(given: unknown, send: (n: number, part: unknown) => void): Promise<unknown> {
    const value = await given;
    if (!isParts(value)) return value;
    for (;;) {
      while (this.#window === 0 && !this.signal.aborted) await new Promise<void>((resolve) => (this.#wake = resolve));
      if (this.signal.aborted) return void (await value.return(undefined));
      const next = await value.next();
      if (next.done) return next.value;
      if (this.#window === undefined || this.signal.aborted) continue;
      this.#window--;
      send(++this.#sent, next.value);
    }
  }
}
