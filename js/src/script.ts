// The entry of dist/juggler.min.js, for a plain <script>: `new juggler.Client(…)`.
import { Client as Bare, JugglerError, isBlocked, members, onServer, stream, withKey, withServer, withState, type ClientOptions } from './index.js';

/** A page without a bundler imports nothing: it has all. */
class Client extends (Bare as new (url: string, options: ClientOptions) => object) {
  constructor(url: string, options?: ClientOptions) {
    super(url, { isBlocked, ...options });
  }
}

Object.assign(globalThis, { juggler: { Client, JugglerError, members, onServer, stream, withKey, withServer, withState } });
