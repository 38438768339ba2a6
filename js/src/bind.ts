/**
 * Makes the methods of an object its own, bound to it. They then work wherever
 * the application keeps the object: taken off it, and behind any Proxy (Vue's,
 * a store's), which calls them with itself as `this`. A Proxy has no private
 * fields, and would wrap the parts of the object, which have to stay what they
 * are in sets and comparisons. What a subclass overrides is bound in its place.
 *
 * Getters have to call a method: bound themselves, they would cost each object
 * a hidden class of its own, 2 kB in V8.
 */
export function bind(object: object): void {
  for (let proto = object; (proto = Object.getPrototypeOf(proto) as object) !== Object.prototype; ) {
    for (const key of Reflect.ownKeys(proto)) {
      const member = Object.getOwnPropertyDescriptor(proto, key)!;
      if (typeof member.value !== 'function' || Object.hasOwn(object, key) || key === 'constructor') continue;
      Object.defineProperty(object, key, { ...member, value: member.value.bind(object) });
    }
  }
}
