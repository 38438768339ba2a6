import { JugglerError } from './error.js';
import type { Link, ServerMessage } from './link.js';
import type { Subscription } from './subscription.js';
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
  gap(gap: Gap): void;
  /** The topic has no subscription any more. */
  forget(topic: Topic): void;
}

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

  #subscriptions = new Set<Subscription<any>>();
  #fields: string;
  /** The link that the subscription was last asked for on. */
  #asked: Link | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** How often it was refused for now, since the last confirmation. */
  #refusals = 0;
  /** Confirmed before, and lost with its link: the next confirmation leaves a gap. */
  #gap = false;
  /** While it moves to another link: the ids that came from the old one, and what waits from the new one. */
  #seen = new Set<unknown>();
  #held: ServerMessage[] | undefined;

  constructor(
    readonly channel: string,
    readonly pattern: boolean,
    readonly owner: Subscriber,
  ) {
    this.key = topicKey(channel, pattern);
    this.#fields = `,"channel":${JSON.stringify(channel)}${pattern ? ',"pattern":true' : ''}`;
  }

  /** Whether the server has confirmed it. */
  get confirmed(): boolean {
    return this.on !== undefined;
  }


  add(subscription: Subscription<any>): void {
    this.#subscriptions.add(subscription);
    this.ask();
  }

  /**
   * Takes a subscription away, and unsubscribes at the last. That waits for
   * the end of the present task, as a component that is mounted again (React
   * does it in development) would else pay two round trips.
   */
  remove(subscription: Subscription<any>): void {
    if (!this.#subscriptions.delete(subscription)) return;
    queueMicrotask(() => {
      if (this.#subscriptions.size) return;
      clearTimeout(this.#retry);
      this.owner.forget(this);
      for (const link of new Set([this.on, this.#asked])) if (link) this.#unsubscribe(link);
      this.on = this.#asked = undefined;
    });
  }

  /** Asks for the subscription on the client's present link, unless that was done. */
  ask(): void {
    const link = this.owner.link;
    if (!link || this.#asked === link) return;
    clearTimeout(this.#retry);
    this.#asked = link;
    this.#held = this.on && [];
    // A server that does not answer is given up, lest the application waits for events in vain.
    this.#retry = setTimeout(() => {
      const error = new JugglerError(1002, `${this.channel}: SUB was not answered`, 'unknown');
      this.owner.report(error);
      link.end(error, false);
    }, this.owner.timeout);
    const sent = link.request({
      type: 'SUB',
      fields: this.#fields,
      idempotent: true,
      settle: (error) => {
        if (this.#asked !== link || !this.#subscriptions.size) return;
        clearTimeout(this.#retry);
        if (error) this.#refused(error);
        else this.#confirm(link);
      },
      lost: () => {},
    });
    if (!sent) this.linkEnded(link);
  }

  /** An event that came on a link. */
  deliver(link: Link, message: ServerMessage): void {
    if (link === this.on) {
      if (this.#held) this.#seen.add(message['id']);
      this.#emit(message);
    } else if (link === this.#asked && this.#held) this.#held.push(message);
  }

  /** The server says that events may have been missed. */
  missed(reason: Gap['reason']): void {
    const gap: Gap = { channel: this.channel, pattern: this.pattern, reason };
    this.owner.gap(gap);
    for (const subscription of [...this.#subscriptions]) {
      this.#guard(() => subscription.options.onGap?.(gap));
    }
  }

  /** A link has ended. */
  linkEnded(link: Link): void {
    if (link === this.#asked) {
      clearTimeout(this.#retry);
      this.#asked = this.#held = undefined;
    }
    if (link !== this.on) return;
    this.on = undefined;
    this.#gap = true;
  }

  /** Ends all its subscriptions with an error. */
  fail(error: JugglerError): void {
    for (const subscription of [...this.#subscriptions]) this.#guard(() => subscription.end(error));
  }

  /** The client has stopped for now. */
  rest(reason: JugglerError): void {
    for (const subscription of [...this.#subscriptions]) subscription.rest(reason);
  }

  /** Runs code of the application; what it throws is reported. */
  #guard(run: () => void): void {
    try {
      run();
    } catch (cause) {
      const message = `a handler of ${this.channel} threw: ${String(cause)}`;
      this.owner.report(new JugglerError(500, message, 'failed', { cause }));
    }
  }

  #emit(message: ServerMessage): void {
    for (const subscription of [...this.#subscriptions]) {
      this.#guard(() => subscription.push(message as unknown as JugglerEvent));
    }
  }

  #refused(error: JugglerError): void {
    this.#asked = undefined;
    if (!error.retryable) return this.fail(error);
    this.owner.report(error);
    const pause = error.retryAfter ?? Math.min(30_000, 1_000 * 2 ** this.#refusals++);
    this.#retry = setTimeout(() => this.ask(), pause);
  }

  /**
   * The server has confirmed it on a link. If it still is on another, which
   * the server asked to leave, it moves without a gap, a repetition or a
   * change of order: what the new link brings waits until the old one has
   * brought all of its own, which the answer to UNSB tells, as it comes after
   * the last event.
   */
  #confirm(link: Link): void {
    const old = this.on;
    if (!old) this.#moveTo(link, false);
    else if (!this.#unsubscribe(old, (lost) => this.#moveTo(link, lost))) this.#moveTo(link, true);
  }

  #moveTo(link: Link, lost: boolean): void {
    const held = this.#held ?? [];
    const seen = this.#seen;
    const gap = lost || this.#gap;
    this.#refusals = 0;
    this.#held = undefined;
    this.#seen = new Set();
    // The new link may have ended meanwhile.
    this.on = this.#asked === link ? link : undefined;
    this.#gap = !this.on;
    if (gap) this.missed('reconnect');
    for (const message of held) if (!seen.has(message['id'])) this.#emit(message);
    if (this.on) for (const subscription of [...this.#subscriptions]) subscription.confirmed();
  }

  #unsubscribe(link: Link, done: (lost: boolean) => void = () => {}): boolean {
    return link.request({
      type: 'UNSB',
      fields: this.#fields,
      idempotent: true,
      settle: () => done(false),
      lost: () => done(true),
    });
  }
}
