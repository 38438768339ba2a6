import { hide } from './error.js';

/**
 * Gives an object methods of its own, bound to it. They then work wherever the
 * application keeps the object: taken off it, and behind any Proxy (Vue's, a
 * store's), which calls them with itself as `this`. A Proxy has no private
 * fields, and would wrap the parts of the object, which have to stay what they
 * are in sets and comparisons. What a subclass overrides is bound in its place.
 *
 * Getters have to call a method: bound themselves, they would cost each object
 * a hidden class of its own, 2 kB in V8.
 */
export function bind<T extends object>(object: T, ...keys: (keyof T)[]): void {
  for (const key of keys) hide(object, key, (object[key] as (...args: unknown[]) => unknown).bind(object));
}
