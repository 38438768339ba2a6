// A state that the application reads, and the events that change it: an import of its own.
import type { JugglerError } from './error.js';
import { LoopFeed } from './loop.js';
import { Timer } from './time.js';
import type { Topic } from './topic.js';
import type { Gap, JugglerEvent, SubscribeOptions } from './types.js';

/** Reads a state. The signal is aborted when nobody wants it any more. */
export type ReadState = (signal: AbortSignal) => unknown;

interface StateOptions extends SubscribeOptions {
  readonly _read: ReadState;
}

/**
 * Options of a subscription to what changes a state, which the application
 * reads by `read`: once the subscription is confirmed, and again where events
 * may have been missed. Events wait until it has returned, so none is missed
 * and the handler has the state that they change; one that came meanwhile may
 * be in the state already. If more than `buffer` events wait, the state is read
 * anew. If `read` fails, the client's `error` tells, and it is tried again,
 * with pauses that grow from a second to half a minute.
 *
 * ```ts
 * const read = async (signal: AbortSignal) => {
 *   room = await client.call('room.get', id, { signal });
 * };
 * client.subscribe(`room.${id}`, withState(read), ({ args }) => {
 *   room = { ...room, ...args };
 * });
 * ```
 */
export function withState<O extends SubscribeOptions>(read: ReadState, options?: O): O {
  return { ...options, _read: read, _Feed: StateFeed } as unknown as O;
}

class StateFeed<E = JugglerEvent> extends LoopFeed<E> {
  #reading: Reading<E>;

  constructor(topic: Topic, options: StateOptions, handler?: (event: E) => void) {
    super(topic, options, handler);
    this.#reading = new Reading(this, options, topic, (event) => super._push(event));
  }

  override _push(event: E): void {
    if (!this.#reading._hold(event)) super._push(event);
  }

  override _gap(gap: Gap): void {
    super._gap(gap);
    this.#reading._again();
  }

  override _settle(error?: JugglerError): void {
    super._settle(error);
    if (error) this.#reading._rest();
    else this.#reading._start();
  }
}

/** The reading of a state, one at a time, and the events that wait for it. */
class Reading<E> {
  /** Undefined: the state is known. Another array: what is being read is out of date. */
  private _held: E[] | undefined = [];
  private _busy: boolean | undefined;
  private _failures = 0;
  private _timer = new Timer();
  private _controller = new AbortController();

  constructor(
    private readonly _feed: LoopFeed<E>,
    private readonly _options: StateOptions,
    private readonly _topic: Topic,
    private readonly _pass: (event: E) => void,
  ) {}

  /** Keeps an event until the state is known; false: it is. */
  _hold(event: E): boolean {
    const { buffer = 1_024 } = this._options;
    if (this._held && this._held.push(event) > buffer) this._held = [];
    return !!this._held;
  }

  _again(): void {
    this._held = [];
    this._start();
  }

  _start(): void {
    const held = this._held;
    if (!held || this._busy || this._feed._ended) return;
    this._timer._clear();
    this._busy = true;
    const { _owner: owner, _channel: channel } = this._topic;
    owner._run(`the state of ${channel}`, async () => {
      try {
        await this._options._read(this._controller.signal);
      } catch (cause) {
        this._busy = false;
        // Once there is a subscription again, it begins anew.
        if (this._feed._ended || owner._stopped) return;
        this._timer._set(Math.min(30_000, 1_000 * 2 ** this._failures++), () => this._start());
        throw cause;
      }
      this._busy = false;
      if (held !== this._held) return this._start();
      this._failures = 0;
      this._held = undefined;
      for (const event of held) if (!this._feed._ended) this._pass(event);
    });
  }

  /** There is no subscription, for now or for good. */
  _rest(): void {
    this._timer._clear();
    if (this._feed._ended) this._controller.abort();
  }
}
