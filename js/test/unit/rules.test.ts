// What docs/protocol.md says that a client does when: its tables, read as they are.
import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Client, type ClientOptions } from '../../src/index.js';
import { wireError } from '../../src/error.js';
import { Script } from '../support/script.js';

const protocol = readFileSync(new URL('../../../docs/protocol.md', import.meta.url), 'utf8');

/** Each code in a column of the table whose header begins with `first`, of a range both ends, and its row. */
function rules(first: string, column: number): [code: number, cells: string[]][] {
  const table = protocol.split(`\n| ${first} |`)[1]?.split('\n\n')[0] ?? '';
  return table
    .split('\n')
    .slice(2)
    .map((row) => row.replace(/^\| | \|$/g, '').split(' | '))
    .flatMap((cells) => [...(cells[column] ?? '').matchAll(/\d+/g)].map(([code]): [number, string[]] => [Number(code), cells]));
}

/** How the first connection ends, in the words of the table. A page sees no status: there it is 1006. */
const auth = { auth: () => 'token' };
const ends: Record<string, [ClientOptions, (script: Script, code: number) => void]> = {
  'close code': [{}, ({ socket }, code) => socket.hello().drop(code)],
  'close code in juggler.1': [{}, ({ socket }, code) => socket.hello().drop(code)],
  'close code after HELLO, before the answer to AUTH': [auth, ({ socket }, code) => socket.hello().drop(code)],
  'NACK of the AUTH that signs in': [
    auth,
    async ({ socket }, code) => {
      socket.hello();
      await vi.advanceTimersByTimeAsync(0);
      socket.say({ type: 'NACK', for: socket.last('AUTH')['id'], error: { code, message: 'why' } });
    },
  ],
};

afterEach(() => {
  vi.useRealTimers();
});

describe('what ends a connection', () => {
  const seen = rules('what ends a connection, or an attempt', 1).filter(([, cells]) => cells[0]! in ends);

  it.each(seen)('%i', async (code, [what, , then]) => {
    vi.useFakeTimers();
    const script = new Script();
    const [options, end] = ends[what!]!;
    const client = new Client('ws://test/', { ...script.options, ...options });
    client.connect();
    end(script, code);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(client.state.status === 'closed', `${what} ${code}: ${then}`).toBe(then === 'ends');
    expect(script.sockets.length > 1, `${what} ${code}: ${then}`).toBe(then === 'connects again');
    await client.close();
  });

  it('is all in the table', () => {
    expect(new Set(seen.map(([, cells]) => cells[0]))).toEqual(new Set(Object.keys(ends)));
  });
});

describe('an error that may be retried', () => {
  it.each(rules('error of a request', 0))('%i', (code, [, nack, res]) => {
    for (const [answer, rule] of [['NACK', nack], ['RES', res]] as const) {
      for (const idempotent of [false, true]) {
        const { retryable } = wireError({ code }, answer === 'NACK', { _type: 'CALL', _idempotent: idempotent });
        expect(retryable, `${answer} ${code}, idempotent: ${idempotent}`).toBe(
          rule === 'may be retried' || (rule === 'may be retried if idempotent' && idempotent),
        );
      }
    }
  });
});
