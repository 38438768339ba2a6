import type { Client as Typed } from './api.js';
import { isBlocked } from './blocked.js';
import { checkClient, checkRequest, checkUrl } from './check.js';
import { CoreClient } from './core.js';
import { KeyedRequest } from './keys.js';
import { LoopFeed } from './loop.js';
import { SignIn } from './signin.js';
import type { ClientOptions } from './types.js';

/** The core, checks of what applications pass, sign-in, loops over events, and what the server's history gives. */
export class Client extends CoreClient<LoopFeed<any>> implements Typed<any> {
  constructor(url: string | (() => string | Promise<string>), options: ClientOptions = {}) {
    if (typeof process === 'object' && process.env.NODE_ENV !== 'production') checkClient(url, options);
    const { auth } = options;
    if (typeof process === 'object' && process.env.NODE_ENV !== 'production') options = { isBlocked, ...options };
    super(typeof url === 'function' ? async () => checkUrl(await url()) : url, options, {
      _Feed: LoopFeed,
      _Request: KeyedRequest,
      _checkRequest: checkRequest,
      _signIn: auth && ((connection) => new SignIn(auth, connection)),
    });
  }
}
