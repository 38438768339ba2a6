// Written from a contract of juggler: change that and write it anew.

/** What the server offers, for `new Client<App>(…)`. */
export interface App {
  calls: {
    'me.answer': (args: string) => AsyncGenerator<string, null>;
    'me.reads': () => { [key: string]: number } | null;
    'room.general.history': () => Message[] | null;
    'room.general.post': (args: Post) => Message;
    'room.general.read': (args: number) => unknown;
    'room.general.report': (args?: unknown) => AsyncGenerator<Progress, { [key: string]: number } | null>;
    'room.random.history': () => Message[] | null;
    'room.random.post': (args: Post) => Message;
    'room.random.read': (args: number) => unknown;
    'room.random.report': (args?: unknown) => AsyncGenerator<Progress, { [key: string]: number } | null>;
    'room.staff.history': () => Message[] | null;
    'room.staff.post': (args: Post) => Message;
    'room.staff.read': (args: number) => unknown;
    'room.staff.report': (args?: unknown) => AsyncGenerator<Progress, { [key: string]: number } | null>;
  };
  channels: {
    /** How far a user has read a room. */
    [channel: `reads.${string}`]: Mark;
    /** What is said in a room. */
    [channel: `room.${string}`]: Message;
    /** Somebody types. */
    [channel: `typing.${string}.${string}`]: boolean;
  };
}

export interface Mark {
  id: number;
  room: string;
}

export interface Message {
  at: number;
  id: number;
  key: string;
  text: string;
  user: string;
}

export interface Post {
  key: string;
  text: string;
}

export interface Progress {
  done: number;
  total: number;
}
