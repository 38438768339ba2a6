import { OVERLAP } from './constants.js';
import { JugglerError, wireError } from './error.js';
import { fieldsOf, type Link, type ServerMessage } from './link.js';
import type { Feed } from './subscription.js';
import { Timer } from './time.js';
import type { Gap, JugglerEvent } from './types.js';

/** What subscriptions need of their client. */
export interface Subscriber {
  /** The link that requests go to, if there is one. */
  readonly _link: Link | undefined;
  /** `timeout` is how long `ready` waits, in milliseconds. */
  readonly _settings: { readonly timeout: number };
  /** Why the client does not connect, if so. */
  readonly _stopped: JugglerError | undefined;
  /** Why there is no link, if one was tried. */
  readonly _lastError: JugglerError | undefined;
  _report(error: JugglerError): void;
  /** Runs code of the application. */
  _run(what: string, code: () => unknown): void;
  _emit(type: 'gap', gap: Gap): void;
  /** The topic has no subscription any more. */
  _forget(topic: Topic): void;
  /** A link has a topic less. */
  _roomFreed(link: Link): void;
}

/** What follows who is there. */
export interface Here {
  /** The value of the field by which a SUB on the link asks for it. */
  _asking(link: Link): true;
  /** The answer to the topic's SUB, or a HERE. */
  _hear(link: Link, message: ServerMessage): void;
}

/** A topic's key: a channel, a pattern and a channel of the server's own may be written the same. */
export const topicKey = (channel: string, pattern: unknown, own?: unknown): string => (own ? '!' : pattern ? '*' : '=') + String(channel);

/**
 * What the client is subscribed to at the server, once, for all its local
 * subscriptions to the same channel or pattern.
 *
 * Where the server asks to leave a link, the topic moves to another without a
 * gap. Once both are confirmed, both bring events for a while. The old one's
 * are delivered and the new one's wait, until one event has come on both: from
 * then on the new one brings all. Without any event the old one is left after
 * a time that is enough for what was on its way. So there is no gap, no
 * repetition and no change of order. Where the server keeps the channel's
 * events, it says whether the new link brings all after those that have come.
 */
export class Topic {
  readonly _key: string;
  /** The link that its events come from, once confirmed. */
  _link: Link | undefined;
  /** Why it is refused, and not only for a moment, until it is asked for again. */
  _refusal: JugglerError | undefined;
  /** The server takes no more topics on this link. */
  _awaitsRoom: boolean | undefined;
  /** Some subscription wants it whether or not the server subscribes to it by itself. */
  _asks: boolean | undefined;
  /** Asks who is there, if somebody wants to know: see members.ts. */
  _here: Here | undefined;

  /** The link that the subscription was last asked for on. */
  _askedOn: Link | undefined;
  /**
   * Where the channel stood, if the server keeps its events: on the next link it
   * goes on after it. It is taken from what this subscription was delivered, and
   * from a confirmation after which nothing older comes; any other would skip
   * events in silence.
   */
  protected _since: { at: unknown; tag: unknown } | undefined;
  protected _timer = new Timer();
  private _feeds = new Set<Feed<any>>();
  /** How often it was refused for now, since the last confirmation. */
  private _refusals = 0;
  /** Confirmed before, and lost with its link: the next confirmation leaves a gap. */
  private _lost: boolean | undefined;
  /** While it moves to another link: what waits from the new one. */
  protected _held: ServerMessage[] | undefined;
  /** The ids of the events that the old link brought, and the new one may bring again. */
  private _seen: Set<unknown> | undefined;
  /** Both links are confirmed. */
  protected _overlapping: boolean | undefined;

  constructor(
    readonly _channel: string,
    readonly _pattern: boolean,
    readonly _owner: Subscriber,
    /** How many of the newest events are wanted, until the first confirmation. */
    private _last: number | undefined,
    /** The channel is one of the server's own. */
    readonly _own?: true,
  ) {
    this._key = topicKey(_channel, _pattern, _own);
  }

  _fields(more?: object): string {
    return fieldsOf({ channel: this._channel, pattern: this._pattern || undefined, own: this._own, ...more });
  }

  /** Whether it has subscriptions. */
  get _wanted(): boolean {
    return this._feeds.size > 0;
  }

  _add(feed: Feed<any>): void {
    this._feeds.add(feed);
    this._ask();
  }

  /**
   * Takes a subscription away, and unsubscribes at the last. That waits for
   * the end of the present task, as a component that is mounted again (React
   * does it in development) would else pay two round trips.
   */
  _remove(feed: Feed<any>): void {
    if (!this._feeds.delete(feed)) return;
    // A promise, as test runners with fake timers never run what queueMicrotask is given.
    void Promise.resolve().then(() => {
      if (this._wanted) return;
      this._timer._clear();
      this._owner._forget(this);
      const { _link: link, _askedOn: asked } = this;
      this._link = this._askedOn = undefined;
      if (link) this._unsubscribe(link);
      if (asked && asked !== link) this._unsubscribe(asked);
    });
  }

  /**
   * A link is being opened to move to. An event that comes from now on may come
   * again there, where the server may be slower than the old one.
   */
  _prepare(): void {
    // The next move comes before the end of the last.
    if (this._overlapping) this._moveTo(this._askedOn!, true);
    // The move before, which is under way, needs to know what the old link has brought.
    this._seen = (this._askedOn !== this._link && this._seen) || (this._link && new Set());
    this._held = this._link && [];
  }

  /** Asks for the subscription on the client's present link, unless that was done. */
  _ask(): void {
    const link = this._owner._link;
    if (!link || this._askedOn === link) return;
    this._timer._clear();
    this._refusal = undefined;
    const most = link._limit('subscriptions');
    this._awaitsRoom = link._topics >= most;
    if (this._awaitsRoom) {
      const message = `${this._channel}: the server allows ${most} subscriptions`;
      return this._refused(new JugglerError(429, message, 'refused', { retryable: true }));
    }
    if (this._overlapping || !this._held) this._prepare();
    this._askedOn = link;
    link._topics++;
    const wait = link._spend('subscriptions');
    if (wait > 0) this._timer._set(wait, () => this._askOn(link));
    else this._askOn(link);
  }

  protected _askOn(link: Link): void {
    // A server that does not answer is given up, lest the application waits for events in vain.
    this._timer._set(this._owner._settings.timeout, () => {
      link._end(new JugglerError(1002, `${this._channel}: no answer`));
    });
    const sent = link._request({
      _type: 'SUB',
      _fields: this._fields({ since: this._since, last: this._last, here: this._here?._asking(link) }),
      _idempotent: true,
      _settle: (error, answer) => {
        if (this._askedOn !== link || !this._wanted) return;
        // Where the server has subscribed to it by itself, its events come all the same.
        if (!error || (this._asks && link._made.has(this._key))) return this._confirmed(link, answer);
        this._refused(error);
        this._free(link);
      },
    });
    if (!sent) this._linkEnded(link);
  }

  /** What came of the channel on a link: an event, the word that some may have been missed, or another. */
  _deliver(link: Link, message: ServerMessage): void {
    const { id, type } = message;
    if (type === 'UNSS') return this._taken(link, wireError(message.error, true, { _type: 'SUB' }));
    if (type === 'GAP') {
      if (link === this._link) this._take(message);
      return this._gap('server');
    }
    if (type === 'SUBS') return this._ask();
    if (type !== 'EVNT') return this._here?._hear(link, message);
    if (link === this._link) {
      if (this._held) this._seen!.add(id);
      else if (this._seen?.delete(id)) return;
      this._take(message);
      this._each((feed) => feed._push(message as unknown as JugglerEvent));
    } else if (link === this._askedOn) this._held?.push(message);
    if (this._overlapping && this._seen!.has(id) && this._held?.some((held) => held.id === id)) {
      this._moveTo(this._askedOn!);
    }
  }

  protected _take({ at, tag }: ServerMessage): void {
    this._since = at && !this._pattern ? { at, tag } : undefined;
  }

  /** Events may have been missed. */
  private _gap(reason: Gap['reason']): void {
    const gap: Gap = { channel: this._channel, pattern: this._pattern, own: this._own, reason };
    this._owner._emit('gap', gap);
    this._each((feed) => feed._gap(gap));
  }

  /** A link has ended. */
  _linkEnded(link: Link): void {
    // What the old one had still to bring is lost.
    if (this._overlapping && link === this._link) return this._moveTo(this._askedOn!, true);
    if (link === this._askedOn) {
      this._timer._clear();
      this._askedOn = this._held = undefined;
      this._overlapping = false;
    }
    if (link !== this._link) return;
    this._link = this._held = undefined;
    this._lost = true;
  }

  /** The server has taken it away on a link. Of one that is not confirmed there it speaks of another, before this one. */
  protected _taken(link: Link, error: JugglerError): void {
    if (link !== this._link && !(this._overlapping && link === this._askedOn)) return;
    this._linkEnded(link);
    this._free(link);
    if (!error.retryable) this._each((feed) => feed._fail(error));
    else if (!this._askedOn) this._refused(error);
  }

  /** Tells each subscription something, other than those that end meanwhile. */
  _each(tell: (feed: Feed<any>) => void): void {
    for (const feed of [...this._feeds]) if (this._feeds.has(feed)) tell(feed);
  }

  /**
   * What does not pass by itself is told once to whoever subscribes, and
   * whatever it is, the subscription is asked for again: when there is room, or
   * after pauses that grow. Only what cannot be asked for has ended.
   */
  private _refused(error: JugglerError): void {
    this._timer._clear();
    this._askedOn = this._held = undefined;
    const { code, retryAfter = 0, retryable } = error;
    if (code === 400 || code === 413) return this._each((feed) => feed._fail(error));
    if (retryable && !this._refusals) this._owner._report(error); // No promise tells.
    const pause = Math.min(retryable ? 30_000 : 300_000, (retryAfter || 1_000) * 2 ** this._refusals++);
    if (!this._awaitsRoom) {
      this._timer._set(Math.max(retryAfter, pause), () => this._ask());
      if (retryable) return;
    }
    this._refusal = error;
    this._each((feed) => feed._refused(error));
  }

  /** The server has confirmed it on a link. */
  protected _confirmed(link: Link, answer: ServerMessage): void {
    const { recovered } = answer;
    const tells = recovered !== undefined;
    this._here?._hear(link, answer);
    // If the server has subscribed it on that link, too, what has come there comes again.
    if (tells) this._held = undefined;
    if (this._link && !tells) {
      this._overlapping = true;
      this._timer._set(OVERLAP, () => this._moveTo(link));
      return;
    }
    if (!recovered && !this._last) this._take(answer);
    this._last = undefined;
    // All that the old link may still bring comes on the new one, too.
    this._moveTo(link, !recovered && (tells || this._lost));
  }

  private _moveTo(link: Link, gap?: boolean): void {
    const { _link: old, _held: held = [] } = this;
    this._timer._clear();
    this._link = link;
    this._held = undefined;
    this._overlapping = this._lost = false;
    this._refusals = 0;
    if (gap) this._gap('reconnect');
    held.forEach((message) => this._deliver(link, message));
    if (old) this._unsubscribe(old);
    this._each((feed) => feed._settle());
  }

  protected _unsubscribe(link: Link): void {
    link._spend('');
    link._request({ _type: 'UNSB', _fields: this._fields() });
    this._free(link);
  }

  protected _free(link: Link): void {
    link._topics--;
    this._owner._roomFreed(link);
  }
}
