/** What somebody has typed: a value (undefined: nothing was typed), or why it is no JSON. */
export type Typed = { readonly value: unknown; readonly error?: undefined } | { readonly value?: undefined; readonly error: string };

interface Exact {
  /** A number that JSON.stringify writes as it was; not in all browsers yet. */
  rawJSON?(text: string): unknown;
}

/** Keeps numbers that JavaScript has none of, such as 12345678901234567890, as they are. */
const exact = (_key: string, value: unknown, context?: { source?: string }): unknown =>
  typeof value === 'number' && context?.source && String(value) !== context.source ? ((JSON as Exact).rawJSON?.(context.source) ?? value) : value;

/** Reads what is being typed. The engine says best what is wrong with it, and where. */
export function read(text: string): Typed {
  if (!text.trim()) return { value: undefined };
  try {
    return { value: JSON.parse(text, exact) as unknown };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

/** JSON on many lines, as people read it; what is none, as it is. */
export function pretty(text: string): string {
  const { value, error } = read(text);
  return error === undefined && value !== undefined ? JSON.stringify(value, undefined, 2) : text;
}

/** A value on one line. */
export const compact = (value: unknown): string => (value === undefined ? '' : JSON.stringify(value));
