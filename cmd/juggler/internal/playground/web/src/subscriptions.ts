import { members, type Client, type CoreSubscription, type JugglerError, type JugglerEvent, type Members } from '@juggler-go/client';
import { signal } from '@preact/signals';
import { soon } from './soon.js';

/** What a subscription is made with. */
export interface SubscribeRequest {
  readonly channel: string;
  readonly pattern: boolean;
  /** How many kept events come first; 0: none. */
  readonly last: number;
  /** Whether to follow who is there. */
  readonly here: boolean;
}

/** How many of the newest events are shown. */
const SHOWN_EVENTS = 50;

/** What is known of a subscription. */
export interface Feed {
  readonly status: 'asking' | 'live' | 'refused';
  readonly error?: JugglerError;
  /** The newest events, newest first. */
  readonly events: readonly JugglerEvent[];
  readonly count: number;
  /** How often events may have been missed. */
  readonly gaps: number;
  /** Who is there, as people read it; undefined: nobody asked, or it is not known yet. */
  readonly here?: string;
}

let made = 0;

/** A subscription, with its newest events. */
export class Subscription {
  readonly n = ++made;
  readonly feed = signal<Feed>({ status: 'asking', events: [], count: 0, gaps: 0 });
  private subscription: CoreSubscription;
  private members: Members | undefined;
  private events: JugglerEvent[] = [];
  private count = 0;
  private showEvents = soon(() => this.know({ events: [...this.events].reverse(), count: this.count }));

  constructor(
    client: Client,
    readonly request: SubscribeRequest,
  ) {
    const { channel, pattern, last, here } = request;
    const options = {
      onReady: () => this.know({ status: 'live' }),
      onGap: () => this.know({ gaps: this.feed.value.gaps + 1 }),
      onError: (error: JugglerError) => this.know({ status: 'refused', error }),
    };
    const take = (event: JugglerEvent): void => {
      this.events.push(event);
      if (this.events.length > SHOWN_EVENTS) this.events.shift();
      this.count++;
      this.showEvents();
    };
    this.subscription = pattern
      ? client.subscribe(channel, { ...options, pattern: true }, take)
      : client.subscribe(channel, { ...options, ...(last > 0 && { last }) }, take);
    if (here) this.follow(client, channel);
  }

  end(): void {
    this.members?.unsubscribe();
    this.subscription.unsubscribe();
  }

  private follow(client: Client, channel: string): void {
    this.members = members(client, channel, { onError: ({ message }) => this.know({ here: message }) }, () => {
      const { members: there, count } = this.members!;
      const names = there?.map(({ user, sessions }) => (sessions > 1 ? `${user} × ${sessions}` : user));
      this.know({ here: names ? names.join(', ') || 'nobody' : `${count} users` });
    });
  }

  private know(more: Partial<Feed>): void {
    this.feed.value = { ...this.feed.value, ...more };
  }
}
