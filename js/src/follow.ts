// What the hooks do, without React: a read that can be repeated, a
// subscription that is watched, an answer that is read part by part, and a
// state that follows a channel.
import { members, type Client, type JugglerError, type Stream } from './index.js';
import type { Gap, JugglerEvent, Member, SubscribeOptions } from './types.js';

/** What is known of something that is read. */
export interface Reading<R> {
  readonly data?: R | undefined;
  readonly error?: JugglerError | undefined;
  /** Whether a read is under way, or about to be. */
  readonly pending: boolean;
  /** What `apply` threw. */
  readonly thrown?: { readonly cause: unknown };
}

/** How many events may wait for the answer of a read. */
const BUFFER = 1_024;

/**
 * Repeats a read, one at a time: however often `wish` is called during a read,
 * it is followed by one more. It begins after the present task's code, as a
 * component that is mounted twice (React does it in development) would else
 * make a call only to cancel it.
 */
export class Repeat {
  readonly #controller = new AbortController();
  readonly #read: (signal: AbortSignal) => Promise<void>;
  #running = false;
  /** Whether it is to be read once more. */
  wished = false;

  constructor(read: (signal: AbortSignal) => Promise<void>) {
    this.#read = read;
  }

  /** Reads, now or again. */
  readonly wish = async (): Promise<void> => {
    this.wished = true;
    if (this.#running) return;
    this.#running = true;
    await null;
    const { signal } = this.#controller;
    while (this.wished && !signal.aborted) {
      this.wished = false;
      await this.#read(signal);
    }
    this.#running = false;
  };

  /** Ends it for good; the signal of the read under way is aborted. */
  stop(): void {
    this.#controller.abort();
  }
}

/** Who is told what becomes of a subscription. */
export interface Watcher {
  event(event: JugglerEvent<any>): void;
  gap(gap: Gap): void;
  /** Confirmed: at first, or after it had failed. */
  ready(): void;
  /** Not confirmed for now. `refused`: by the server. */
  failed(error: JugglerError, refused: boolean): void;
}

/** Subscribes, and tells when that is confirmed and when it is not. The function returned ends it. */
export function watch(client: Client, channel: string, pattern: boolean, watcher: Watcher, more?: SubscribeOptions): () => void {
  let state: 'asked' | 'ready' | 'refused' | 'ended' = 'asked';
  const options = {
    ...more,
    pattern: pattern as true,
    onGap: watcher.gap,
    onReady: () => {
      if (state === 'ready') return; // as it was before a reconnection
      state = 'ready';
      watcher.ready();
    },
    onError: (error: JugglerError) => {
      state = 'refused';
      watcher.failed(error, true);
    },
  };
  const subscription = client.subscribe(channel, options, watcher.event);
  // The client goes on trying where there is no connection, or no answer in time.
  subscription.ready.catch((error: JugglerError) => {
    if (state === 'asked') watcher.failed(error, false);
  });
  return () => {
    state = 'ended';
    subscription.unsubscribe();
  };
}

/** What is known of who is in a channel. */
export interface Presence {
  readonly members?: readonly Member<any>[] | undefined;
  readonly count?: number | undefined;
  readonly error?: JugglerError | undefined;
  readonly pending: boolean;
}

/** Follows who is in a channel, and tells what is known of it. The function returned ends it. */
export function watchMembers(client: Client, channel: string, tell: (change: Partial<Presence>) => void): () => void {
  let ended = false;
  const show = (): void => tell({ members: room.members, count: room.count, error: undefined, pending: false });
  const fail = (error: JugglerError): void => {
    if (!ended) tell({ error, pending: false });
  };
  const room = members(client, channel, { onReady: show, onError: fail }, show);
  room.ready.catch(fail); // The client goes on trying.
  return () => {
    ended = true;
    room.unsubscribe();
  };
}

/** What is known of an answer in parts. */
export interface Parts<P, R> {
  readonly parts: readonly P[];
  readonly result?: R | undefined;
  readonly error?: JugglerError | undefined;
  readonly pending: boolean;
}

/** For how long parts are collected, in ms: what changes more often nobody sees. */
const FRAME = 16;

/**
 * Reads an answer in parts, and tells what has come, though not each time that
 * a part comes. It begins after the present task's code, as {@link Repeat}
 * does. The function returned ends it: it returns the parts that have come.
 */
export function readParts<P, R>(
  open: (signal: AbortSignal) => Stream<P, R>,
  tell: (known: Parts<P, R>) => void,
): () => P[] {
  const controller = new AbortController();
  const { signal } = controller;
  const parts: P[] = [];
  let frame: ReturnType<typeof setTimeout> | undefined;
  const show = (how: Omit<Parts<P, R>, 'parts'>): void => {
    clearTimeout(frame);
    frame = undefined;
    if (!signal.aborted) tell({ ...how, parts: [...parts] });
  };
  const read = async (): Promise<void> => {
    await null;
    if (signal.aborted) return;
    try {
      const answer = open(signal);
      for (let next; !(next = await answer.next()).done; ) {
        parts.push(next.value);
        frame ??= setTimeout(() => show({ pending: true }), FRAME);
      }
      show({ result: await answer.result, pending: false });
    } catch (error) {
      show({ error: error as JugglerError, pending: false });
    }
  };
  void read();
  return () => {
    controller.abort();
    clearTimeout(frame);
    return parts;
  };
}

/** A state that is followed: how it is read and changed, and who is told. */
export interface Source<R> {
  read(signal: AbortSignal): Promise<R>;
  /** The state after an event; undefined: the event does not tell. */
  apply(state: R, event: JugglerEvent<any>): R | undefined;
  gap(gap: Gap): void;
  tell(change: Partial<Reading<R>>): void;
}

/**
 * Reads a state and follows its channel: it subscribes first, then reads, and
 * applies the events that came since then, in their order. It reads again
 * where events may be missing, and after a failure that may pass.
 */
export class Follower<R> {
  readonly #source: Source<R>;
  readonly #reads = new Repeat((signal) => this.#read(signal));
  readonly #ends: (() => void)[];
  #subscribed = false;
  #state: { is: R } | undefined;
  /** The events that came since the read under way began. */
  #waiting: JugglerEvent<any>[] | undefined;
  #failures = 0;
  /** The pause after a failure, and whether it ends in another read. */
  #pause: ReturnType<typeof setTimeout> | undefined;
  #again = false;

  constructor(client: Client, channel: string, pattern: boolean, source: Source<R>) {
    this.#source = source;
    this.#ends = [
      watch(client, channel, pattern, {
        event: (event) => this.#event(event),
        gap: (gap) => {
          this.refresh();
          source.gap(gap);
        },
        ready: () => {
          this.#subscribed = true;
          this.refresh();
        },
        failed: (error, refused) => {
          if (refused) this.#subscribed = false;
          source.tell({ error, pending: false });
        },
      }),
      client.on('state', ({ status }) => {
        if (status === 'open' && this.#failures) this.refresh();
      }),
    ];
  }

  /** Reads the state again, but not without a subscription: it would be taken for one that is followed. */
  readonly refresh = (): void => {
    if (!this.#subscribed) return;
    this.#source.tell({ pending: true });
    void this.#reads.wish();
  };

  /** Ends it: nobody is told anything any more. */
  stop(): void {
    clearTimeout(this.#pause);
    this.#reads.stop();
    for (const end of this.#ends) end();
  }

  async #read(signal: AbortSignal): Promise<void> {
    clearTimeout(this.#pause);
    const waiting: JugglerEvent<any>[] = (this.#waiting = []);
    let error: JugglerError | undefined;
    try {
      this.#state = { is: await this.#source.read(signal) };
      this.#pause = undefined;
      this.#failures = 0;
    } catch (cause) {
      error = cause as JugglerError;
    }
    if (signal.aborted) return;
    if (error) this.#rest(error);
    this.#waiting = undefined;
    for (const event of waiting) this.#apply(event);
    this.#source.tell({ data: this.#state?.is, error, pending: this.#reads.wished });
  }

  /** The state could not be read: leaves the server alone for a while. */
  #rest(error: JugglerError): void {
    const pause = Math.max(error.retryAfter ?? 0, Math.min(30_000, 1_000 * 2 ** this.#failures++));
    this.#again = error.retryable;
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      if (this.#again) this.refresh();
    }, pause);
  }

  #event(event: JugglerEvent<any>): void {
    if (this.#waiting) {
      if (this.#waiting.push(event) <= BUFFER) return;
      this.#waiting.length = 0;
      void this.#reads.wish();
    } else {
      this.#apply(event);
      this.#source.tell({ data: this.#state?.is, pending: this.#reads.wished });
    }
  }

  #apply(event: JugglerEvent<any>): void {
    let is: R | undefined;
    try {
      is = this.#state && this.#source.apply(this.#state.is, event);
    } catch (cause) {
      this.#source.tell({ thrown: { cause } });
    }
    if (is !== undefined) this.#state = { is };
    else if (this.#pause !== undefined) this.#again = true;
    else void this.#reads.wish();
  }
}
