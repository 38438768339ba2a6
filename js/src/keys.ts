// What the core does without: publications that may be repeated.
import { KEY_LIFE } from './constants.js';
import type { JugglerError } from './error.js';
import { fieldsOf, type Link } from './link.js';
import { Request } from './request.js';

/** Random words, as good as the runtime has them: they tell the keys of this client from those of others. */
let prefix: unknown;
const random = (): unknown => globalThis.crypto?.getRandomValues(new Uint32Array(3)) ?? [1, 2].map(Math.random);

/**
 * A request whose publication carries a key, by which the server knows it
 * again: where nobody knows whether it was taken, it is sent once more.
 */
export class KeyedRequest extends Request {
  private _key: string | undefined;

  override _sendOn(link: Link): boolean {
    let fields = this._fields;
    if (this._type === 'PUB') {
      const known = link._grant['keys'];
      const again = this._maybeSent && !this._idempotent;
      this._key ??= this._options.key ?? (known ? `${[(prefix ??= random()), this._order]}` : undefined);
      if (again && !known) {
        // The server would not know it again.
        this._refuse(1006, 'outcome unknown');
        return true;
      }
      // `again`: on a channel whose events are not kept, the server does not know keys, and refuses.
      if (this._key) fields += fieldsOf({ key: this._key, again });
    }
    return super._sendOn(link, fields);
  }

  override _lost(error: JugglerError): void {
    super._lost(error, this._idempotent || (this._key && this._link?._grant['keys'] && this._timeout <= KEY_LIFE));
  }
}
