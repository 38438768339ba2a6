// What a MockServer keeps of the channels that it has rules for.

/** Where a channel stood. No two events have the same one, whatever was lost. */
export interface Position {
  readonly at: number;
  readonly tag: string;
}

/** An event as it is sent, with its position. */
export type KeptEvent = Position & { readonly [field: string]: unknown };

let tags = 0;

const position = (at: number): Position => ({ at, tag: String(++tags).padStart(11, '0') });

/** The newest events of one channel. */
export class Log {
  #most: number;
  #events: KeptEvent[] = [];
  /** What the oldest event follows. */
  #base = position(1);

  constructor(most: number) {
    this.#most = most;
  }

  /** Where the channel stands. */
  get top(): Position {
    const { at, tag } = this.#events.at(-1) ?? this.#base;
    return { at, tag };
  }

  add(event: object): KeptEvent {
    const kept = { ...event, ...position(this.top.at + 1) };
    this.#events.push(kept);
    if (this.#events.length > this.#most) this.#drop();
    return kept;
  }

  /** The events after a position; undefined: it proves nothing. */
  after(since: unknown): KeptEvent[] | undefined {
    const { at, tag } = Object(since) as Partial<Position>;
    const known = [this.#base, ...this.#events].findIndex((event) => event.at === at && event.tag === tag);
    return known < 0 ? undefined : this.#events.slice(known);
  }

  newest(count: number): KeptEvent[] {
    return this.#events.slice(-count);
  }

  /** Loses the newest events: their numbers are given again, but not their tags. */
  lose(count: number): void {
    this.#events.splice(Math.max(0, this.#events.length - count));
  }

  /** Forgets all events, the oldest first. */
  forget(): void {
    while (this.#events.length > 0) this.#drop();
  }

  #drop(): void {
    this.#base = this.#events.shift()!;
  }
}
