// The snippets are kept beside this test: TypeScript and `go vet` look at them as at all code.
import { expect, it } from 'vitest';
import { go, typescript, wscat, type Action } from '../src/snippets.js';

const call = { kind: 'call', uri: 'test.echo', args: { text: `"it's" \`quoted\` \\` }, parts: undefined, timeout: 5_000, key: undefined } as const;
const subscribe = { kind: 'subscribe', channel: 'room.7', pattern: false, last: 5, here: true } as const;

const actions: Record<string, [action: Action, token: boolean, protocol?: string]> = {
  call: [call, false],
  parts: [{ ...call, args: undefined, parts: 32 }, false],
  keyed: [{ ...call, args: [1], key: 'order-7' }, true],
  keyedparts: [{ ...call, args: 'x', parts: 8, key: 'order-7' }, true],
  subscribe: [subscribe, false],
  pattern: [{ ...subscribe, channel: 'news.*', pattern: true, last: 0, here: false }, true],
  publish: [{ kind: 'publish', channel: 'room.7', args: { n: 1 } }, false],
  older: [call, false, 'juggler.0'],
  oldersubscribe: [{ ...subscribe, last: 0, here: false }, false, 'juggler.0'],
  publishnothing: [{ kind: 'publish', channel: 'room.7', args: undefined }, true],
};

for (const [name, [action, token, protocol = 'juggler.1']] of Object.entries(actions)) {
  it(`are programs: ${name}`, async () => {
    const place = { url: "ws://127.0.0.1:8080/?user=o'hara", protocol, token };
    await expect(go(action, place)).toMatchFileSnapshot(`snippets/${name}/main.go`);
    await expect(typescript(action, place)).toMatchFileSnapshot(`snippets/${name}/main.ts`);
    await expect(wscat(action, place)).toMatchFileSnapshot(`snippets/${name}/wscat.txt`);
  });
}
