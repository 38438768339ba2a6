/**
 * Makes the methods and getters of an object its own, bound to it. They then
 * work wherever the application keeps the object: taken off it, and behind
 * any Proxy (Vue's, a store's), which calls them with itself as `this`. A
 * Proxy has no private fields, and would wrap the parts of the object, which
 * have to stay what they are in sets and comparisons. What a subclass
 * overrides is bound in its place.
 */
export function bind(object: object): void {
  for (let proto = object; (proto = Object.getPrototypeOf(proto) as object) !== Object.prototype; ) {
    for (const key of Reflect.ownKeys(proto)) {
      if (Object.hasOwn(object, key) || key === 'constructor') continue;
      const member = Object.getOwnPropertyDescriptor(proto, key)!;
      for (const part of ['get', 'set', 'value'] as const) {
        if (typeof member[part] === 'function') member[part] = member[part].bind(object);
      }
      Object.defineProperty(object, key, member);
    }
  }
}
