/**
 * Milliseconds from some moment on. Unlike Date.now() it goes neither back nor
 * forward when the clock is set; where there is no such clock, Date.now().
 */
export const now = (): number => globalThis.performance?.now() ?? Date.now();
