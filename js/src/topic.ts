import { JugglerError } from './error.js';
import { delay, type Link, type ServerMessage } from './link.js';
import type { Feed } from './subscription.js';
import type { Gap, JugglerEvent } from './types.js';

/** What subscriptions need of their client. */
export interface Subscriber {
  /** The link that requests go to, if there is one. */
  readonly link: Link | undefined;
  /** How long `ready` waits, in milliseconds. */
  readonly timeout: number;
  /** Why the client does not connect, if so. */
  readonly stopped: JugglerError | undefined;
  /** Why there is no link, if one was tried. */
  readonly trouble: JugglerError | undefined;
  report(error: JugglerError): void;
  /** Runs code of the application. */
  run(what: string, code: () => unknown): void;
  gap(gap: Gap): void;
  /** The topic has no subscription any more. */
  forget(topic: Topic): void;
  /** A link has room for another topic. */
  freed(link: Link): void;
}

/** How long a topic stays on a link that is left, after it was confirmed on another. In ms. */
const OVERLAP = 250;

/** A topic's key: a channel and a pattern may be written the same. */
export const topicKey = (channel: string, pattern: boolean): string => (pattern ? '*' : '=') + channel;

/**
 * What the client is subscribed to at the server, once, for all its local
 * subscriptions to the same channel or pattern.
 */
export class Topic {
  readonly key: string;
  /** The link that its events come from, once confirmed. */
  on: Link | undefined;
  /** Why it is refused, and not only for a moment, until it is asked for again. */
  refusal: JugglerError | undefined;
  /** It waits for room: the server takes no more topics on this link. */
  crowded = false;

  #feeds = new Set<Feed<any>>();
  #fields: string;
  /** The link that the subscription was last asked for on. */
  #asked: Link | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** How often it was refused for now, since the last confirmation. */
  #refusals = 0;
  /** Confirmed before, and lost with its link: the next confirmation leaves a gap. */
  #gap = false;
  /** While it moves to another link: what waits from the new one. */
  #held: ServerMessage[] | undefined;
  /** The ids of the events that the old link brought, and the new one may bring again. */
  #seen = new Set<unknown>();
  /** Both links are confirmed. */
  #overlapping = false;

  constructor(
    readonly channel: string,
    readonly pattern: boolean,
    readonly owner: Subscriber,
  ) {
    this.key = topicKey(channel, pattern);
    this.#fields = `,"channel":${JSON.stringify(channel)}${pattern ? ',"pattern":true' : ''}`;
  }

  /** Whether it has subscriptions. */
  get wanted(): boolean {
    return this.#feeds.size > 0;
  }

  add(feed: Feed<any>): void {
    this.#feeds.add(feed);
    this.ask();
  }

  /**
   * Takes a subscription away, and unsubscribes at the last. That waits for
   * the end of the present task, as a component that is mounted again (React
   * does it in development) would else pay two round trips.
   */
  remove(feed: Feed<any>): void {
    if (!this.#feeds.delete(feed)) return;
    // A promise, as test runners with fake timers never run what queueMicrotask is given.
    void Promise.resolve().then(() => {
      if (this.wanted) return;
      clearTimeout(this.#retry);
      this.owner.forget(this);
      const links = new Set([this.on, this.#asked]);
      this.on = this.#asked = this.#held = undefined;
      for (const link of links) if (link) this.#unsubscribe(link);
    });
  }

  /**
   * A link is being opened to move to. An event that comes now may come again
   * there, where the server may be slower than the old one.
   */
  prepare(): void {
    // The next move comes before the end of the last.
    if (this.#overlapping) this.#moveTo(this.#asked!, true);
    this.#seen.clear();
    this.#held = this.on && [];
  }

  /** Asks for the subscription on the client's present link, unless that was done. */
  ask(): void {
    const link = this.owner.link;
    if (!link || this.#asked === link) return;
    clearTimeout(this.#retry);
    this.refusal = undefined;
    this.crowded = link.topics >= link.maxTopics;
    if (this.crowded) {
      const message = `${this.channel}: the server allows ${link.maxTopics} subscriptions`;
      return this.#refused(new JugglerError(429, message, 'refused', { retryable: true }));
    }
    if (this.#overlapping || !this.#held) this.prepare();
    this.#asked = link;
    link.topics++;
    // A server that does not answer is given up, lest the application waits for events in vain.
    this.#retry = setTimeout(() => {
      link.end(new JugglerError(1002, `${this.channel}: SUB was not answered`, 'unknown'));
    }, this.owner.timeout);
    const sent = link.request({
      type: 'SUB',
      fields: this.#fields,
      idempotent: true,
      settle: (error) => {
        if (this.#asked !== link || !this.wanted) return;
        clearTimeout(this.#retry);
        if (!error) return this.#confirm(link);
        this.#refused(error);
        this.#free(link);
      },
      lost: () => {},
    });
    if (!sent) this.linkEnded(link);
  }

  /** An event that came on a link. */
  deliver(link: Link, message: ServerMessage): void {
    const id = message['id'];
    if (link === this.on) {
      if (this.#held) this.#seen.add(id);
      else if (this.#seen.delete(id)) return;
      this.#emit(message);
    } else if (link === this.#asked) this.#held?.push(message);
    if (this.#overlapping && this.#seen.has(id) && this.#held?.some((held) => held['id'] === id)) {
      this.#moveTo(this.#asked!, false);
    }
  }

  /** The server says that events may have been missed. */
  missed(reason: Gap['reason']): void {
    const gap: Gap = { channel: this.channel, pattern: this.pattern, reason };
    this.owner.gap(gap);
    this.#each((feed) => feed.gap(gap));
  }

  /** A link has ended. */
  linkEnded(link: Link): void {
    if (link === this.#asked) {
      clearTimeout(this.#retry);
      this.#asked = this.#held = undefined;
      this.#overlapping = false;
    }
    if (link !== this.on) return;
    // What it had still to bring is lost.
    if (this.#overlapping) return this.#moveTo(this.#asked!, true);
    this.on = this.#held = undefined;
    this.#gap = true;
  }

  /** Ends all its subscriptions with an error. */
  fail(error: JugglerError): void {
    this.#each((feed) => feed.end(error));
  }

  /** The client has stopped for now. */
  rest(reason: JugglerError): void {
    this.#each((feed) => feed.rest(reason));
  }

  #emit(message: ServerMessage): void {
    this.#each((feed) => feed.push(message as unknown as JugglerEvent));
  }

  /** Tells each subscription something, other than those that end meanwhile. */
  #each(run: (feed: Feed<any>) => void): void {
    for (const feed of [...this.#feeds]) if (this.#feeds.has(feed)) run(feed);
  }

  /**
   * What does not pass by itself is told once to whoever subscribes, and
   * whatever it is, the subscription is asked for again: when there is room, or
   * after pauses that grow. Only what cannot be asked for has ended.
   */
  #refused(error: JugglerError): void {
    this.#asked = this.#held = undefined;
    if (error.code === 400 || error.code === 413) return this.fail(error);
    const { retryAfter = 0, retryable } = error;
    if (retryable && !this.#refusals) this.owner.report(error); // No promise tells.
    const pause = Math.min(retryable ? 30_000 : 300_000, (retryAfter || 1_000) * 2 ** this.#refusals++);
    if (!this.crowded) this.#retry = setTimeout(() => this.ask(), delay(Math.max(retryAfter, pause)));
    if (retryable && !this.crowded) return;
    this.refusal = error;
    this.#each((feed) => feed.refused(error));
  }

  #free(link: Link): void {
    link.topics--;
    this.owner.freed(link);
  }

  /**
   * The server has confirmed it on a link. If it still is on another, which
   * the server asked to leave, both bring events for a while. The old one's
   * are delivered and the new one's wait, until one event has come on both:
   * from then on the new one brings all. Without any event the old one is left
   * after a time that is enough for what was on its way. So there is no gap,
   * no repetition and no change of order.
   */
  #confirm(link: Link): void {
    this.#refusals = 0;
    if (!this.on) return this.#moveTo(link, this.#gap);
    this.#overlapping = true;
    this.#retry = setTimeout(() => this.#moveTo(link, false), OVERLAP);
  }

  #moveTo(link: Link, gap: boolean): void {
    const old = this.on;
    const held = this.#held ?? [];
    clearTimeout(this.#retry);
    this.on = link;
    this.#held = undefined;
    this.#gap = this.#overlapping = false;
    if (gap) this.missed('reconnect');
    for (const message of held) this.deliver(link, message);
    if (old) this.#unsubscribe(old);
    this.#each((feed) => feed.settle());
  }

  #unsubscribe(link: Link): void {
    const ignore = (): void => {};
    link.request({ type: 'UNSB', fields: this.#fields, idempotent: true, settle: ignore, lost: ignore });
    this.#free(link);
  }
}
