import { signal } from '@preact/signals';

/** How many calls and events there were in a second. */
export interface Rate {
  readonly calls: number;
  readonly events: number;
}

/** How many seconds are remembered. */
export const SECONDS = 60;

const none: Rate = { calls: 0, events: 0 };

/** What happened in each of the last seconds. */
export class Rates {
  /** The last {@link SECONDS}, oldest first. */
  readonly seconds = signal<readonly Rate[]>(Array<Rate>(SECONDS).fill(none));
  private calls = 0;
  private events = 0;

  count(type: string, sent: boolean): void {
    if (sent && type === 'CALL') this.calls++;
    else if (!sent && type === 'EVNT') this.events++;
  }

  /** A second is over. */
  tick(): void {
    this.seconds.value = [...this.seconds.value.slice(1), { calls: this.calls, events: this.events }];
    this.calls = this.events = 0;
  }
}
