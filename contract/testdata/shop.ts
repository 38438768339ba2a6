// Written from a contract of juggler: change that and write it anew.

/** What the server offers, for `new Client<App>(…)`. */
export interface App {
  calls: {
    'ai.words': (args: string) => AsyncGenerator<string, null>;
    'it\'s `${any}` \\ "\u2028\u000a': (args?: unknown) => unknown;
    /** @deprecated use orders.find */
    'orders.list': (args?: {
      limit?: number;
    } | null) => PageOrder;
    /**
     * Places an order.
     * It is packed at once.
     * @throws 409: sold out
     * @throws 422: no such size
     */
    'orders.place': (args: Order) => Placed;
    'report.make': (args: string) => AsyncGenerator<Progress, { [key: string]: boolean } | null>;
    'time.now': () => string;
  };
  channels: {
    /** Every order. */
    'orders.all': Order;
    [channel: `orders.${string}.comments`]: Comment;
    [channel: `user.${string}`]: string | Progress;
    /** @deprecated see report.make */
    [channel: `user.${string}.\`\$${string}\``]: Progress;
  };
}

export type Color = 'red' | 'it\'s "green"';

export interface Comment {
  answers: Comment[] | null;
  text: string;
}

export interface Order {
  at: string;
  big: string;
  color: Color;
  colors?: { [key: string]: Color };
  /**
   * What was said of it.
   * It ends with *​/ here.
   */
  comment?: Comment;
  from: string;
  /** Names it for ever. */
  id: string;
  note: string | null;
  picture: string | null;
  raw: unknown;
  size: [number, number];
  tags?: string[];
  'weird name': { [key: string]: number[] | null } | null;
}

export interface PageOrder {
  items: Order[] | null;
  next?: number;
}

export interface Placed {
  order: Order;
}

export interface Progress {
  Done: number;
  Of: number;
}
