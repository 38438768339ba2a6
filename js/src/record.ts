// What a MockServer keeps of a call with a key, and who has joined it.
import type { MockCall, Outcome, UnderWay } from './parts.js';

/** Sends a message to a client that has joined; RES is the last one. */
export type Tell = (type: 'PART' | 'RES', fields: object) => void;

/** The record of a call with a key: its parts and its outcome, for all who join it. */
export class CallRecord {
  #call: MockCall;
  #joined = new Set<Joined>();
  #outcome: Outcome | undefined;
  #parts: unknown[] = [];
  /** The number of the oldest part that is kept, or will be. */
  #first = 1;

  constructor(
    /** What its args are compared by. */
    readonly args: string,
    call: MockCall,
  ) {
    this.#call = call;
  }

  get state(): 'running' | 'done' {
    return this.#outcome ? 'done' : 'running';
  }

  /** The number of the first part that can come behind another. */
  firstBehind(part: number): number {
    return Math.max(this.#first, part + 1);
  }

  /** The next part, the outcome behind the last one, or nothing yet. */
  next(n: number, withParts: boolean): { part: unknown } | { outcome: Outcome } | undefined {
    if (!withParts || n >= this.#first + this.#parts.length) return this.#outcome && { outcome: this.#outcome };
    if (n >= this.#first) return { part: this.#parts[n - this.#first] };
    return { outcome: { error: { code: 429, message: `parts ${n} to ${this.#first - 1} are not kept any more` } } };
  }

  join(joined: Joined): void {
    this.#joined.add(joined);
  }

  leave(joined: Joined): void {
    this.#joined.delete(joined);
  }

  add(part: unknown): void {
    this.#parts.push(part);
    this.#tell();
  }

  /** The first outcome is the one that counts. */
  end(outcome: Outcome): void {
    this.#outcome ??= outcome;
    this.#tell();
  }

  /** Ends it for all. */
  stop(): void {
    this.#call.cancel();
  }

  /** Loses its oldest parts. */
  lose(parts: number): void {
    this.#first += this.#parts.splice(0, parts).length;
  }

  #tell(): void {
    for (const joined of this.#joined) joined.send();
  }
}

/** A client that has joined a call with a key, and gets its parts at its own pace. */
export class Joined implements UnderWay {
  #record: CallRecord;
  /** The number of its next part. */
  #next: number;
  /** How many parts it takes now; undefined: it wants none at all. */
  #window: number | undefined;
  #tell: Tell;

  constructor(record: CallRecord, next: number, window: number | undefined, tell: Tell) {
    this.#record = record;
    this.#next = next;
    this.#window = window;
    this.#tell = tell;
    record.join(this);
  }

  more(parts: number): void {
    if (this.#window !== undefined) this.#window += parts;
    this.send();
  }

  cancel(stop?: boolean): void {
    if (stop) this.#record.stop();
    else this.#end({ error: { code: 499, message: 'cancelled' } });
  }

  /** Sends what there is for it, and what it takes. */
  send(): void {
    for (;;) {
      const next = this.#record.next(this.#next, this.#window !== undefined);
      if (!next) return;
      if ('outcome' in next) return this.#end(next.outcome);
      if (!this.#window) return;
      this.#window--;
      this.#tell('PART', { n: this.#next++, args: next.part });
    }
  }

  #end(outcome: Outcome): void {
    this.#record.leave(this);
    this.#tell('RES', outcome);
  }
}
