export interface Message {
  id: number;
  user: string;
  key: string;
  text: string;
  at: number;
}

export interface App {
  calls: {
    [uri: `room.${string}.history`]: () => Message[];
    [uri: `room.${string}.post`]: (args: { key: string; text: string }) => Message;
    [uri: `room.${string}.read`]: (id: number) => null;
    [uri: `room.${string}.report`]: () => AsyncGenerator<{ done: number; total: number }, Record<string, number>>;
    'me.reads': () => Record<string, number>;
    'me.answer': (question: string) => AsyncGenerator<string, null>;
  };
  channels: {
    [room: `room.${string}`]: Message;
    [user: `reads.${string}`]: { room: string; id: number };
    [typing: `typing.${string}.${string}`]: true;
  };
}
