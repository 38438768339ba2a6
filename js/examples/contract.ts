// What the server of these examples offers. The callees are those of
// `juggler demo`, the channels are anybody's.
export interface App {
  calls: {
    'test.echo': (args: unknown) => unknown;
    'test.reverse': (text: string) => string;
    'test.delay': (ms: number) => unknown;
  };
  channels: {
    chat: { from: string; text: string };
    [room: `chat.${string}`]: { from: string; text: string };
  };
}
