import type { Client as Typed } from './api.js';
import { checkClient, checkFunction, checkRequest, checkUrl } from './check.js';
import { CoreClient } from './core.js';
import { LoopFeed } from './loop.js';
import { SignIn } from './signin.js';
import type { ClientEvents, ClientOptions } from './types.js';

/** The core, checks of what applications pass, sign-in, and loops over events. */
export class Client extends CoreClient<LoopFeed<any>> implements Typed<any> {
  constructor(url: string | (() => string | Promise<string>), options: ClientOptions = {}) {
    checkClient(url, options);
    const { auth } = options;
    super(typeof url === 'function' ? async () => checkUrl(await url()) : url, options, {
      _Feed: LoopFeed,
      _checkRequest: checkRequest,
      _signIn: auth && ((connection) => new SignIn(auth, connection)),
    });
  }

  override on<K extends keyof ClientEvents>(type: K, listener: (event: ClientEvents[K]) => void): () => void {
    checkFunction('listener', listener);
    return super.on(type, listener);
  }
}
