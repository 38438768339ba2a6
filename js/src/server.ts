// What the server subscribes the client to by itself: an import of its own.
import type { CoreClient } from './api.js';
import type { JugglerError } from './error.js';
import type { Link, ServerMessage } from './link.js';
import type { Feed } from './subscription.js';
import { Topic, topicKey, type Subscriber } from './topic.js';
import type { Contract, Made, ServerOptions, ServerSubscription } from './types.js';

/**
 * Options of a subscription that the server makes: it takes what comes once
 * the server has subscribed the client to the channel, and asks for nothing.
 * It is `ready` from then on, and rests while the server does not. After a
 * reconnection it goes on when the server has subscribed the new session, with
 * what was missed if the server keeps the channel's events. It ends, with the
 * server's error, when the server ends it.
 *
 * ```ts
 * client.subscribe('user:u1', withServer({ own: true }), ({ args }) => notify(args));
 * ```
 *
 * Where the application subscribes to the channel by itself, too, both are one
 * subscription, which ends when the server ends it.
 */
export function withServer<O extends ServerOptions>(options?: O): ServerSubscription<O> {
  return { ...options, last: undefined, _own: options?.own || undefined, _Topic: ServerTopic } as never;
}

/**
 * Tells of each channel or pattern that the server subscribes the client to:
 * of those that it has by now after the present task, and of none again after
 * a reconnection. The function returned ends that.
 *
 * ```ts
 * onServer(client, ({ channel, own }) => {
 *   client.subscribe(channel, withServer({ own, onError: left }), show);
 * });
 * ```
 */
export function onServer<C extends Contract>(client: CoreClient<C>, listener: (made: Made) => void): () => void {
  const known = new Set<string>();
  const made = ({ channel, pattern, own }: ServerMessage): void => {
    const key = topicKey(channel as string, pattern, own);
    if (known.has(key)) return;
    known.add(key);
    listener({ channel: channel as string, pattern: !!pattern, own: !!own });
  };
  const on = client.on as (type: string, listener: (message: ServerMessage) => void) => () => void;
  const offs = [
    on('SUBS', made),
    on('UNSS', ({ channel, pattern, own }) => void known.delete(topicKey(channel as string, pattern, own))),
  ];
  void Promise.resolve().then(() => {
    const { _owner: owner } = (client.subscribe as (channel: string, options: object) => unknown)('', { _Feed: Probe }) as Probe;
    owner._link?._made.forEach((message) => owner._run('a listener of onServer', () => offs.length && made(message)));
  });
  return () => offs.splice(0).forEach((off) => off());
}

/** Finds what a client is made of. */
class Probe {
  readonly _owner: Subscriber;

  constructor({ _owner }: Topic) {
    this._owner = _owner;
  }

  _start(): void {}
}

/** A topic that the server subscribes to, unless the application does. */
class ServerTopic extends Topic {
  /** The links on which the server has subscribed to it. */
  private _adopted = new WeakSet<Link>();

  override _add(feed: Feed<any>): void {
    const { _link: link } = this._owner;
    if (!this._asks && !this._askedOn && link?._made.has(this._key)) {
      // It begins here: what came before was nobody's.
      this._link = this._askedOn = link;
      this._adopted.add(link);
    }
    super._add(feed);
  }

  override _deliver(link: Link, message: ServerMessage): void {
    if (message.type === 'SUBS') {
      if (link === this._owner._link) this._ask(message);
      // A listener has just now subscribed.
      if (link === this._link && !this._since) this._take(message);
    } else super._deliver(link, message);
  }

  /** `fresh`: the server has just now subscribed to it, so nothing of it has come yet. */
  override _ask(fresh?: ServerMessage): void {
    const { _link: link } = this._owner;
    if (this._asks) return super._ask();
    const made = fresh ?? link?._made.get(this._key);
    if (!link || !made || this._askedOn === link) return;
    this._timer._clear();
    this._refusal = undefined;
    if (this._overlapping || !this._held) this._prepare();
    this._askedOn = link;
    this._adopted.add(link);
    const { _since: since } = this;
    const isThere = fresh && since && made['at'] === since.at && made['tag'] === since.tag;
    if (isThere) this._confirmed(link, { recovered: true });
    else if (since && made['at']) this._askIn(link._spend('subscriptions'), link);
    else this._confirmed(link, made);
  }

  /** Asks for what was missed. */
  private _askIn(ms: number, link: Link): void {
    if (ms > 0) this._timer._set(ms, () => this._askOn(link));
    else this._askOn(link);
  }

  protected override _taken(link: Link, error: JugglerError): void {
    const isBehind = link === this._askedOn && link !== this._link && this._adopted.has(link);
    if (!isBehind || this._overlapping) return super._taken(link, error);
    // What was missed has been asked for. If it comes nevertheless, another such question would bring it twice.
    if (error.retryable) return;
    this._linkEnded(link);
    this._each((feed) => feed._fail(error));
  }

  // The client has not asked for it there: there is nothing to take back.

  protected override _unsubscribe(link: Link): void {
    if (this._adopted.has(link)) this._free(link);
    else super._unsubscribe(link);
  }

  protected override _free(link: Link): void {
    if (this._adopted.has(link)) this._owner._roomFreed(link);
    else super._free(link);
  }
}
