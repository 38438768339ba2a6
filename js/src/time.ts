/**
 * Milliseconds from some moment on. Unlike Date.now() it goes neither back nor
 * forward when the clock is set; where there is no such clock, Date.now().
 */
export const now = (): number => globalThis.performance?.now() ?? Date.now();

/** Something that is to be done later, unless it is put off or cleared before. */
export class Timer {
  private _id: ReturnType<typeof setTimeout> | undefined;

  /** Does it in `ms`, and what was set before not at all. */
  _set(ms: number, run: () => void): this {
    this._clear();
    // Beyond 2^31-1 it would fire at once.
    this._id = setTimeout(run, Math.min(ms, 2e9));
    return this;
  }

  _clear(): void {
    clearTimeout(this._id);
  }
}
