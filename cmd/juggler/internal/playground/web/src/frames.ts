import { signal } from '@preact/signals';
import { fromWire, isWire } from './juggler0.js';
import { soon } from './soon.js';

/** One line of the timeline: a message, or that a connection was opened or closed. */
export interface Frame {
  /** Counts all lines from 1. */
  readonly n: number;
  /** When, in ms as of Date.now(), with fractions. */
  readonly at: number;
  readonly sent: boolean;
  /** The message's, or OPEN or CLOSE. */
  readonly type: string;
  /** The URI, channel or pattern that it is about, also if only the request that it answers has it. */
  readonly subject: string;
  /** The ms since the request that it answers was sent. */
  readonly took: number | undefined;
  /** As it was on the wire, but without tokens; the parts of a batch are told one by one. */
  readonly text: string;
}

/** How many lines are kept, and how many characters of them. */
const MOST = 1_000;
const MOST_TEXT = 2 << 20;

const now = (): number => performance.timeOrigin + performance.now();

/** What went over the wire last. */
export class Frames {
  /** The newest lines, oldest first: a new array after each change. */
  readonly shown = signal<readonly Frame[]>([]);
  /** Is told of each line, at once. */
  onFrame: (frame: Frame) => void = () => {};

  private kept: Frame[] = [];
  private text = 0;
  private last = 0;
  private show = soon(() => (this.shown.value = [...this.kept]));

  add(line: Omit<Frame, 'n'>): void {
    const frame = { n: ++this.last, ...line };
    this.kept.push(frame);
    this.text += frame.text.length;
    while (this.kept.length > MOST || (this.text > MOST_TEXT && this.kept.length > 1)) this.text -= this.kept.shift()!.text.length;
    this.onFrame(frame);
    this.show();
  }

  clear(): void {
    this.kept = [];
    this.text = 0;
    this.show();
  }
}

/** A message as far as the timeline looks into it. */
type Message = Partial<Record<'type' | 'id' | 'for' | 'uri' | 'channel' | 'token', string>>;

/** Looks into a message of either protocol, or into what is none. */
function look(parsed: unknown): Message {
  const message = Object(parsed) as object;
  return isWire(message) ? fromWire(message) : message;
}

/** What one connection tells the timeline. It knows which request a message answers. */
export class Tap {
  private begun = now();
  private waiting = new Map<string, { type: string | undefined; subject: string; at: number }>();

  constructor(private readonly frames: Frames) {}

  opened(url: string, protocol: string): void {
    this.add(false, 'OPEN', `${url} ${protocol}`.trim(), '', now() - this.begun);
  }

  closed(code: number, reason: string): void {
    this.add(false, 'CLOSE', `${code} ${reason}`.trim(), '');
  }

  sent(text: string): void {
    const message = look(JSON.parse(text));
    const subject = message.uri ?? message.channel ?? this.waiting.get(message.for ?? '')?.subject ?? '';
    // Before the line is added: what it shows is when the request left.
    if (message.id) this.waiting.set(message.id, { type: message.type, subject, at: now() });
    // Lines are copied and shown to others.
    this.add(true, message.type ?? '?', subject, message.token ? JSON.stringify({ ...message, token: '…' }) : text);
  }

  received(text: string): void {
    let parsed: unknown;
    try {
      parsed = JSON.parse(text);
    } catch {
      return this.add(false, '?', '', text);
    }
    if (Array.isArray(parsed)) for (const each of parsed) this.message(look(each), JSON.stringify(each));
    else this.message(look(parsed), text.trim());
  }

  private message(message: Message, text: string): void {
    const request = this.waiting.get(message.for ?? '');
    // More comes of a call behind its ACK, and of no other request.
    if (request && (/^(RES|NACK)$/.test(message.type ?? '') || request.type !== 'CALL')) this.waiting.delete(message.for!);
    const took = request && now() - request.at;
    this.add(false, message.type ?? '?', message.uri ?? message.channel ?? request?.subject ?? '', text, took);
  }

  private add(sent: boolean, type: string, subject: string, text: string, took?: number): void {
    this.frames.add({ at: now(), sent, type, subject, took, text });
  }
}
