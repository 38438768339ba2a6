// Who is in a channel: an import of its own.
import type { CoreClient, Members } from './api.js';
import { bind } from './bind.js';
import { JugglerError, positive, wireError } from './error.js';
import type { Link, ServerMessage } from './link.js';
import { LoopFeed } from './loop.js';
import { Timer } from './time.js';
import type { Here, Topic } from './topic.js';
import type { Member, MembersChange, MembersOptions } from './types.js';

/**
 * Follows who is in a channel, where the server tells (`WithPresence`). It
 * subscribes to the channel, so the user of this client is there, too. Changes
 * go to the handler; without one they wait for a `for await` loop. The first
 * tells who is there already.
 *
 * ```ts
 * const room = members(client, 'room.7', () => {
 *   show(room.members ?? `${room.count} people`);
 * });
 * ```
 *
 * After a reconnection the list is read anew: the next change says what is
 * different. Where the server does not tell who is in this channel, the
 * subscription is refused with 400, as others are with 403.
 */
export function members<Info = unknown>(
  client: CoreClient<any>,
  channel: string,
  options?: MembersOptions | ((change: MembersChange<Info>) => void),
  handler?: (change: MembersChange<Info>) => void,
): Members<Info> {
  const isHandler = typeof options === 'function';
  const given = { ...(isHandler ? undefined : options), pattern: false, _Feed: MembersFeed };
  return (client.subscribe as Subscribe)(channel, given, isHandler ? options : handler) as Members<Info>;
}

type Subscribe = (channel: string, options: object, handler: ((change: MembersChange<any>) => void) | undefined) => unknown;

/** One who follows who is in a channel. */
class MembersFeed extends LoopFeed<MembersChange> implements Members {
  #presence: Presence;
  /** Whether it knows who is there. */
  #told = false;

  constructor(topic: Topic, options: MembersOptions, handler?: (change: MembersChange) => void) {
    super(topic, options, handler);
    bind(this, /* @__KEY__ */ '_getMembers', /* @__KEY__ */ '_getCount');
    this.#presence = (topic._here ??= new Presence(topic)) as Presence;
  }

  get members(): readonly Member[] | undefined {
    return this._getMembers();
  }

  get count(): number | undefined {
    return this._getCount();
  }

  _getMembers(): readonly Member[] | undefined {
    return this.#presence._members;
  }

  _getCount(): number | undefined {
    return this.#presence._count;
  }

  override _start(): void {
    this.#presence._feeds.add(this);
    super._start();
    if (!this._ended) this.#presence._wish();
  }

  /** The events of the channel are for others. */
  override _push(): void {}

  override _gap(): void {}

  /** Something has changed; who knows nothing yet is told all, once it is ready. */
  _tell(change: MembersChange): void {
    if (this.#told) super._push(change);
  }

  override get _isReady(): unknown {
    return super._isReady && this.#presence._known;
  }

  override get _refusal(): JugglerError | undefined {
    return this.#presence._refusal ?? super._refusal;
  }

  override _settle(error?: JugglerError): void {
    const { _known: known, _members: members, _count: count = 0 } = this.#presence;
    if (!error && !known) return; // Another SUB asks for it.
    super._settle(error);
    if (error || this.#told) return;
    this.#told = true;
    super._push({ members, count, join: members ?? [], leave: [] });
  }

  override _end(error?: JugglerError): boolean {
    const ends = super._end(error);
    if (ends) this.#presence._remove(this);
    return ends;
  }
}

/** Who is in a channel, for all who follow it. */
class Presence implements Here {
  readonly _feeds = new Set<MembersFeed>();
  _members: readonly Member[] | undefined;
  _count: number | undefined;
  /** The link that tells. */
  _known: Link | undefined;
  /** Why none does. */
  _refusal: JugglerError | undefined;

  /** Those of the list, if they are known. */
  private _users: Users | undefined;
  /** The link that was last asked. */
  private _asked: Link | undefined;
  /** It was asked apart: the topic's SUB, which may still be on its way, did not ask, and its ACK does not tell. */
  private _apart: boolean | undefined;
  private _timer = new Timer();
  private _failures = 0;

  constructor(private readonly _topic: Topic) {}

  _asking(link: Link): true {
    this._asked = link;
    this._apart = false;
    this._refusal = undefined;
    return true;
  }

  /** Somebody wants to know it: asks, if the topic's SUB did not. */
  _wish(): void {
    const { _topic: topic } = this;
    const link = topic._askedOn;
    if (link && link !== this._asked) this._request(link, this._asking(link));
  }

  private _request(link: Link, here?: true): void {
    this._timer._clear();
    this._apart = here;
    link._spend('subscriptions');
    link._request({
      _type: 'SUB',
      _fields: this._topic._fields({ here }),
      _idempotent: true,
      _settle: (error, answer) => {
        if (!here || link !== this._asked || !this._feeds.size) return;
        if (!error) {
          this._failures = 0;
          this._take(link, answer);
          return this._each((feed) => feed._settle());
        }
        if (!error.retryable) return this._refused(error);
        this._asked = undefined;
        const pause = Math.min(30_000, 1_000 * 2 ** this._failures++);
        this._timer._set(Math.max(error.retryAfter ?? 0, pause), () => this._wish());
      },
    });
  }

  _hear(link: Link, message: ServerMessage): void {
    if (message.type !== 'ACK' || !this._apart) this._take(link, message);
  }

  private _take(link: Link, { type, here, join, leave, count, error }: ServerMessage): void {
    if (type === 'NACK') return this._refused(wireError(error, true, { _type: 'SUB' }));
    const isAck = type === 'ACK';
    if (link !== (isAck ? this._asked : this._known)) return;
    const list = Array.isArray(here) ? here : count === 0 ? [] : undefined;
    const told = positive(count, list?.length);
    if (isAck && told === undefined) {
      const message = `${this._topic._channel}: the server does not tell who is there`;
      return this._refused(new JugglerError(400, message, 'refused'));
    }
    if (told === undefined && !join && !leave) return;
    let users: Users | undefined;
    if (isAck || list) users = list && addTo(new Map(), list);
    else if (told === this._users?.size && !join && !leave) return;
    else if (join ?? leave) users = this._users && new Map(this._users);
    if (!list && users) {
      for (const user of listOf(leave)) users.delete(user as string);
      addTo(users, listOf(join));
    }
    this._known = link;
    this._change(users, positive(count, users?.size ?? 0));
  }

  /** It is not told: asks again on the next link, or for the next who wants to know. */
  private _refused(error: JugglerError): void {
    this._known = this._asked = undefined;
    this._refusal = error;
    this._each((feed) => feed._refused(error));
  }

  private _change(users: Users | undefined, count: number): void {
    const before: Users = this._users ?? new Map();
    const now: Users = users ?? new Map();
    const join = [...now.values()].filter((member) => !isSame(member, before.get(member.user)));
    const leave = users ? [...before.keys()].filter((user) => !now.has(user)) : [];
    const isNews = join.length || leave.length || count !== this._count || !users !== !this._users;
    if (!isNews) return;
    this._users = users;
    this._members = users && [...now.values()];
    this._count = count;
    this._each((feed) => feed._tell({ members: this._members, count, join, leave }));
  }

  private _each(tell: (feed: MembersFeed) => void): void {
    for (const feed of [...this._feeds]) if (this._feeds.has(feed)) tell(feed);
  }

  /** Takes one away who follows it. At the last the server is told, after the present task, as of topics. */
  _remove(feed: MembersFeed): void {
    this._feeds.delete(feed);
    void Promise.resolve().then(() => {
      const { _topic: topic, _asked: link } = this;
      if (this._feeds.size || topic._here !== this) return;
      this._timer._clear();
      topic._here = undefined;
      if (link && topic._wanted && link === topic._askedOn) this._request(link);
    });
  }
}

type Users = Map<string, Member>;

const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);

/** Adds those of a list of the server, as far as it can be trusted. */
function addTo(users: Users, list: unknown[]): Users {
  for (const each of list) {
    const { user, n, info } = Object(each) as { user?: unknown; n?: unknown; info?: unknown };
    if (typeof user === 'string') users.set(user, { user, sessions: positive(n, 1), info: info as never });
  }
  return users;
}

const isSame = (a: Member, b: Member | undefined): boolean => a === b || (!!b && a.sessions === b.sessions && JSON.stringify(a.info) === JSON.stringify(b.info));
