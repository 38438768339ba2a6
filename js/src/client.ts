import type { Client as Typed } from './api.js';
import { checkClient, checkFunction, checkRequest, checkSubscription, checkUrl } from './check.js';
import { CoreClient, subscribe, type Extras } from './core.js';
import { watchEnvironment } from './environment.js';
import { JugglerError } from './error.js';
import { LoopFeed } from './loop.js';
import { SeamlessTopic } from './seamless.js';
import { SignIn } from './signin.js';
import { Topic } from './topic.js';
import type { ClientEvents, ClientOptions } from './types.js';

const subscribeChecked: Extras<LoopFeed<any>>['_subscribe'] = (connection, channel, options, handler) => {
  try {
    checkSubscription(channel, options, handler);
  } catch (cause) {
    // It has ended: components that subscribe go on.
    const name = String(channel);
    const error = new JugglerError(400, `${name}: cannot subscribe: ${(cause as Error).message}`, 'refused', { cause });
    connection._report(error);
    const feed = new LoopFeed(new Topic(name, false, connection), options);
    feed._fail(error);
    return feed;
  }
  return subscribe(LoopFeed, SeamlessTopic, connection, channel, options, handler);
};

/** The core, checks of what applications pass, sign-in, and loops over events. */
export class Client extends CoreClient<LoopFeed<any>> implements Typed<any> {
  constructor(url: string | (() => string | Promise<string>), options: ClientOptions = {}) {
    checkClient(url, options);
    const { auth } = options;
    super(typeof url === 'function' ? async () => checkedUrl(await url()) : url, options, {
      _subscribe: subscribeChecked,
      _checkRequest: checkRequest,
      _watch: watchEnvironment,
      _signIn: auth && ((connection) => new SignIn(auth, connection)),
    });
  }

  override on<K extends keyof ClientEvents>(type: K, listener: (event: ClientEvents[K]) => void): () => void {
    checkFunction('listener', listener ?? null);
    return super.on(type, listener);
  }
}

function checkedUrl(url: string): string {
  checkUrl(url);
  return url;
}
