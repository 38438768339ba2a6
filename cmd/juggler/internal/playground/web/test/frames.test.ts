import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { filter } from '../src/filter.js';
import { Frames, Tap, type Frame } from '../src/frames.js';
import { pretty, read } from '../src/json.js';
import { Rates, SECONDS } from '../src/rates.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A timeline, and the connection that it is of. */
function timeline(): { frames: Frames; tap: Tap; shown: () => readonly Frame[] } {
  const frames = new Frames();
  const shown = (): readonly Frame[] => {
    vi.runAllTimers();
    return frames.shown.value;
  };
  return { frames, tap: new Tap(frames), shown };
}

describe('the timeline', () => {
  it('knows what a message answers, and how long that took', () => {
    const { tap, shown } = timeline();
    tap.sent('{"type":"CALL","id":"1","uri":"a"}');
    tap.sent('{"type":"SUB","id":"2","channel":"c"}');
    vi.advanceTimersByTime(5);
    for (const text of ['{"type":"ACK","for":"1"}', '{"type":"PART","for":"1","n":1}', '{"type":"RES","for":"1"}', '{"type":"ACK","for":"2"}']) tap.received(text);
    tap.sent('{"type":"MORE","for":"1"}'); // behind its end
    tap.received('{"type":"ACK","for":"2"}'); // a second one
    expect(shown().map(({ n, sent, type, subject, took }) => [n, sent, type, subject, took && Math.round(took)])).toEqual([
      [1, true, 'CALL', 'a', undefined],
      [2, true, 'SUB', 'c', undefined],
      [3, false, 'ACK', 'a', 5],
      [4, false, 'PART', 'a', 5],
      [5, false, 'RES', 'a', 5],
      [6, false, 'ACK', 'c', 5],
      [7, true, 'MORE', '', undefined],
      [8, false, 'ACK', '', undefined],
    ]);
  });

  it('tells the messages of a batch apart, and shows what is no JSON', () => {
    const { tap, shown } = timeline();
    tap.received('[{"type":"EVNT","channel":"c","args":1},{"type":"GAP","channel":"d"}]');
    tap.received('{"type":');
    tap.received('7');
    tap.received('null');
    expect(shown().map(({ type, subject, text }) => [type, subject, text])).toEqual([
      ['EVNT', 'c', '{"type":"EVNT","channel":"c","args":1}'],
      ['GAP', 'd', '{"type":"GAP","channel":"d"}'],
      ['?', '', '{"type":'],
      ['?', '', '7'],
      ['?', '', 'null'],
    ]);
  });

  it('knows juggler.0, too', () => {
    const { tap, shown } = timeline();
    tap.sent('{"meta":{"type":1,"uuid":"u"},"payload":{"uri":"a"}}');
    tap.received('{"meta":{"type":8,"uuid":"x"},"payload":{"for":"u","for_type":1,"uri":"a"}}');
    tap.received('{"meta":{"type":9,"uuid":"y"},"payload":{"for":"u","uri":"a","args":1}}');
    tap.received('{"meta":{"type":10,"uuid":"z"},"payload":{"for":"u","channel":"c"}}');
    expect(shown().map(({ type, subject, took }) => [type, subject, took !== undefined])).toEqual([
      ['CALL', 'a', false],
      ['ACK', 'a', true],
      ['RES', 'a', true],
      ['EVNT', 'c', false],
    ]);
  });

  it('shows no token', () => {
    const { tap, shown } = timeline();
    tap.sent('{"type":"AUTH","id":"1","token":"hunter2"}');
    expect(shown()[0]!.text).toBe('{"type":"AUTH","id":"1","token":"…"}');
  });

  it('keeps the newest 1,000 lines, and 2 Mi characters of them', () => {
    const { frames, tap, shown } = timeline();
    for (let n = 1; n <= 5_000; n++) tap.received('{"type":"PING"}');
    expect([shown().length, shown()[0]!.n]).toEqual([1_000, 4_001]);
    for (let n = 0; n < 40; n++) tap.received(`"${'x'.repeat(65_000)}"`);
    expect(shown().length).toBe(32);
    tap.received('x'.repeat(3 << 20));
    expect(shown().length).toBe(1);
    frames.clear();
    expect(shown()).toEqual([]);
  });

  it('is filtered by words', () => {
    const frame = (type: string, subject: string, sent: boolean): Frame => ({ n: 1, at: 0, sent, type, subject, took: undefined, text: `{"type":"${type}"}` });
    const all = [frame('CALL', 'test.echo', true), frame('RES', 'test.echo', false), frame('PING', '', false), frame('PONG', '', true)];
    const types = (words: string): string[] => all.filter(filter(words)).map(({ type }) => type);
    expect(types('')).toEqual(['CALL', 'RES', 'PING', 'PONG']);
    expect(types('Echo')).toEqual(['CALL', 'RES']);
    expect(types('-ping -pong')).toEqual(['CALL', 'RES']);
    expect(types('sent -pong')).toEqual(['CALL']);
    expect(types('received echo -')).toEqual(['RES']);
  });
});

it('JSON that is typed is read, or it is said what is wrong and where', () => {
  expect(read(' ')).toEqual({ value: undefined });
  expect(read('null')).toEqual({ value: null });
  expect(read('{"a":\n 1,}').error).toMatch(/position 9/);
  expect(pretty('{"a":1}')).toBe('{\n  "a": 1\n}');
  expect(pretty('{"a"')).toBe('{"a"');
});

it('calls that are sent and events that are received are counted by the second', () => {
  const rates = new Rates();
  rates.count('CALL', true);
  rates.count('EVNT', false);
  rates.count('EVNT', false);
  rates.count('EVNT', true);
  rates.count('RES', false);
  rates.tick();
  expect(rates.seconds.value.at(-1)).toEqual({ calls: 1, events: 2 });
  rates.tick();
  expect(rates.seconds.value.at(-1)).toEqual({ calls: 0, events: 0 });
  expect(rates.seconds.value).toHaveLength(SECONDS);
});
