// What Next.js makes of an application: a bundle for each place where it runs,
// with the conditions of that place. Next.js itself is too large for this.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build, type Plugin } from 'esbuild';
import { WebSocket } from 'ws';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestServer } from '../support/server.js';

const root = join(import.meta.dirname, '../..');
const server = new TestServer();
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'juggler-js-next-'));
  await server.start();
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await server.kill();
});

/** What webpack makes of an optional dependency that is not installed: nothing, which is there. */
const optional: Plugin = {
  name: 'optional',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(bufferutil|utf-8-validate)$/ }, ({ path }) => ({ path, namespace: 'empty' }));
    onLoad({ filter: /.*/, namespace: 'empty' }, () => ({ contents: '' }));
  },
};

/** Runs a route that calls with some text, from a bundle. */
async function route(code: string, conditions: string[], plugins: Plugin[] = []): Promise<unknown> {
  const outfile = join(folder, `${conditions.join('-')}-${plugins.length}.cjs`);
  await build({
    stdin: { contents: code, resolveDir: root },
    bundle: true,
    platform: conditions.includes('browser') ? 'browser' : 'node',
    format: 'cjs',
    conditions,
    plugins,
    outfile,
  });
  const { GET } = (await import(outfile)) as { GET(url: string, Socket: unknown, text: string): Promise<unknown> };
  return GET(server.url(), WebSocket, 'x'.repeat(100));
}

const calls = (socket: string): string => `
  export async function GET(url, Socket, text) {
    const client = new Client(url, { WebSocket: ${socket}, logger() {} });
    try {
      return await client.call('test.echo', text, { timeout: 2_000 });
    } catch (error) {
      return error;
    } finally {
      await client.close();
    }
  }`;

describe('a route of Next.js', () => {
  it.each([
    ['in Node, beside server components', ['react-server', 'node']],
    ['at the edge', ['react-server', 'edge-light', 'worker']],
    ['in the browser', ['browser', 'module']],
  ])('calls, %s', async (_, conditions) => {
    const code = `import { Client } from '@juggler-go/client'; ${calls('Socket')}`;
    expect(await route(code, conditions)).toBe('x'.repeat(100));
  });

  it('with ws in its bundle fails, and says why', async () => {
    const code = `import { Client } from '@juggler-go/client'; import { WebSocket } from 'ws'; ${calls('WebSocket')}`;
    const error = await route(code, ['react-server', 'node'], [optional]);
    expect(error).toMatchObject({ name: 'JugglerError', code: 408, cause: { cause: { message: expect.stringContaining('mask is not a function') } } });
  });
});
