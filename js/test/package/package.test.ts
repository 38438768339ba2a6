// The package as it is published: its size, its entries, its types, its reference.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
const bin = (name: string): string => join(root, 'node_modules/.bin', name);
const run = (command: string, args: string[], cwd = root): string => execFileSync(command, args, { cwd, encoding: 'utf8' });

/** What a bundler makes of an application that imports this, minified and gzipped. */
async function size(code: string): Promise<number> {
  const result = await build({
    stdin: { contents: code, resolveDir: join(root, 'dist') },
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    external: ['react', '@opentelemetry/api'],
    write: false,
  });
  return gzipSync(result.outputFiles[0]!.contents, { level: 9 }).length;
}

describe('size, minified and gzipped', () => {
  it.each([
    ['the core', `export { CoreClient } from './index.js'`, 6_700],
    ['the whole client', `export { Client, CoreClient, JugglerError } from './index.js'`, 8_250],
    ['that with a state', `export { Client, CoreClient, JugglerError, withState } from './index.js'`, 8_550],
    ['that with answers in parts', `export { Client, CoreClient, JugglerError, stream } from './index.js'`, 9_050],
    ['that with keys of calls', `export { Client, CoreClient, JugglerError, withKey } from './index.js'`, 9_050],
    ['that with both', `export { Client, CoreClient, JugglerError, stream, withKey } from './index.js'`, 9_800],
    ['that with the hook for answers in parts', `export { Client, CoreClient, JugglerError } from './index.js'; export { useStream } from './react.js'`, 9_800],
    ['that with what the server subscribes to', `export { Client, CoreClient, JugglerError, onServer, withServer } from './index.js'`, 8_750],
    ['that with who is there', `export { Client, CoreClient, JugglerError, members } from './index.js'`, 9_150],
    ['that with the hook for who is there', `export { Client, CoreClient, JugglerError } from './index.js'; export { useMembers } from './react.js'`, 9_500],
    ['that with what a browser does not tell', `export { Client, CoreClient, JugglerError, isBlocked } from './index.js'`, 8_400],
  ])('%s is less than it may be', async (_, code, most) => {
    expect(await size(code)).toBeLessThan(most);
  });

  it('the file for a plain <script> is less than 11.7 kB', () => {
    const file = readFileSync(join(root, 'dist/juggler.min.js'));
    expect(gzipSync(file, { level: 9 }).length).toBeLessThan(11_700);
  });

  it('owes it to short names of what only the parts of the client know', () => {
    const folder = join(root, 'src');
    for (const file of readdirSync(folder)) {
      const members = readFileSync(join(folder, file), 'utf8').matchAll(/^ +(private|protected) (override |readonly |async |get )*(\w+)/gm);
      for (const [, , , name] of members) expect(name, `src/${file}`).toMatch(/^_[a-z]/);
    }
    for (const file of ['index.js', 'cjs/index.js', 'juggler.min.js']) {
      expect(readFileSync(join(root, 'dist', file), 'utf8'), file).not.toMatch(/\._[a-z]{3}/);
    }
  });

  it('gives no object two members of one short name', async () => {
    const { shortNames } = (await import(join(root, 'scripts/names.mjs'))) as { shortNames(folder: string): Record<string, string> };
    const folder = mkdtempSync(join(tmpdir(), 'juggler-js-names-'));
    const short = shortNames(join(root, 'src'));
    mkdirSync(join(folder, 'src'));
    for (const file of readdirSync(join(root, 'src'))) {
      const source = readFileSync(join(root, 'src', file), 'utf8');
      writeFileSync(join(folder, 'src', file), source.replace(/\b_[a-z]\w*/g, (name) => `$${short[name]}`));
    }
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    writeFileSync(join(folder, 'tsconfig.json'), readFileSync(join(root, 'tsconfig.json')));
    expect(run(bin('tsc'), ['-p', '.'], folder)).toBe('');
    rmSync(folder, { recursive: true });
  });

  it.each([
    ['useCall', 1_000],
    ['useSubscription', 1_000],
    ['useConnection', 1_000],
    ['useChannelState', 1_500],
  ])('the hook %s is less than %d bytes', async (hook, most) => {
    expect(await size(`export { ${hook} } from './react.js'`)).toBeLessThan(most);
  });

  it('traces are less than 1,000 bytes', async () => {
    expect(await size(`export { traced } from './otel.js'`)).toBeLessThan(1_000);
  });

  it('is nothing when nothing is used', async () => {
    expect(await size(`import './index.js'; import './react.js'; import './otel.js'; import './testing.js'`)).toBeLessThan(30);
  });

  it('has no dependencies', () => {
    const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Record<string, unknown>;
    expect(manifest['dependencies']).toBeUndefined();
    expect(manifest['sideEffects']).toBe(false);
  });
});

describe('the packed package', () => {
  let folder: string;
  let tarball: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'juggler-js-pack-'));
    // dist/ was built for these tests: no scripts.
    const packed = run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder]);
    const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
    tarball = join(folder, filename);
    run('tar', ['-xzf', tarball], folder);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('is not made in a fresh clone without saying what that lacks', () => {
    const clone = join(folder, 'clone');
    cpSync(root, clone, { recursive: true, filter: (path) => !/\/(node_modules|dist|docs|test)$/.test(path) });
    const packed = spawnSync('npm', ['pack', '--silent'], { cwd: clone, encoding: 'utf8' });
    expect(packed).toMatchObject({ status: 1, stderr: expect.stringContaining('run `npm ci` in js/ first') });
  });

  it('holds what it should, and nothing else', () => {
    const files = run('tar', ['-tzf', tarball]).trim().split('\n');
    const odd = files.filter((file) => !/^package\/(dist\/[\w.]+\.(js|js\.map|d\.ts)|dist\/cjs\/[\w.]+\.(js|d\.ts|json)|(\w+\/)?package\.json|README\.md|LICENSE)$/.test(file));
    expect(odd).toEqual([]);
    for (const file of ['README.md', 'LICENSE', 'dist/index.js', 'dist/react.d.ts', 'dist/testing.js', 'dist/cjs/index.js', 'dist/cjs/react.d.ts', 'testing/package.json', 'dist/cjs/otel.js', 'otel/package.json', 'dist/juggler.min.js.map']) {
      expect(files).toContain(`package/${file}`);
    }
  });

  it('publint finds nothing', async () => {
    const { messages, pkg } = await publint({ pkgDir: root, pack: false, strict: true });
    expect(messages.map((message) => formatMessage(message, pkg!))).toEqual([]);
  });

  it('are the types wrong? They are not', () => {
    // A problem makes its exit code 1, and this throw.
    expect(run(bin('attw'), [tarball, '--no-emoji', '--format', 'ascii'])).toContain('node16 (from CJS): OK (CJS)');
  });

  it('imports on a server, where nothing happens', () => {
    const code = `
      for (const key of ['WebSocket', 'document', 'window', 'addEventListener', 'navigator']) {
        Object.defineProperty(globalThis, key, { get() { throw new Error('touched ' + key) }, configurable: true });
      }
      const { Client } = await import('${join(folder, 'package/dist/index.js')}');
      await import('${join(folder, 'package/dist/testing.js')}');
      const client = new Client('ws://x/', { auth() { throw new Error('asked') } });
      console.log(client.state.status);`;
    expect(run(process.execPath, ['--input-type=module', '-e', code]).trim()).toBe('closed');
  });

  // Applications check the types of their dependencies with their own settings.
  it.each([
    ['a browser application', { lib: ['ES2022', 'DOM', 'DOM.Iterable'], module: 'ESNext', moduleResolution: 'Bundler', types: [] }],
    ['a Node application without DOM', { lib: ['ES2022'], module: 'NodeNext', moduleResolution: 'NodeNext', types: ['node'] }],
  ])('compiles in %s, strictly', (_, settings) => {
    const app = mkdtempSync(join(folder, 'app-'));
    symlinkSync(join(root, 'node_modules'), join(app, 'node_modules'));
    writeFileSync(join(app, 'package.json'), '{"type":"module"}');
    writeFileSync(
      join(app, 'app.ts'),
      `import { Client } from '../package/dist/index.js';
       import { MockServer } from '../package/dist/testing.js';
       await using client = new Client('ws://x', { WebSocket: new MockServer().WebSocket });
       using sub = client.subscribe('a');
       for await (const event of sub) console.log(event.args, await client.call('b'));`,
    );
    const compilerOptions = { target: 'ES2022', strict: true, skipLibCheck: false, noEmit: true, ...settings };
    writeFileSync(join(app, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['app.ts'] }));
    expect(run(bin('tsc'), ['-p', '.'], app)).toBe('');
  });
});

describe('the documentation', () => {
  it('the reference is the one that the types give', () => {
    const folder = mkdtempSync(join(tmpdir(), 'juggler-js-api-'));
    run(bin('typedoc'), ['--out', folder, '--logLevel', 'Warn']);
    const files = run('find', ['.', '-type', 'f'], folder).trim().split('\n').sort();
    expect(run('find', ['.', '-type', 'f'], join(root, 'docs/api')).trim().split('\n').sort(), 'run `npm run docs`').toEqual(files);
    for (const file of files) {
      expect(readFileSync(join(root, 'docs/api', file), 'utf8'), `${file}: run \`npm run docs\``).toBe(readFileSync(join(folder, file), 'utf8'));
    }
    rmSync(folder, { recursive: true });
  });

  it('links to what there is', () => {
    for (const page of ['README.md', 'docs/migrating.md']) {
      const text = readFileSync(join(root, page), 'utf8');
      for (const [, target] of text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
        expect(existsSync(join(root, page, '..', target!)), `${page}: ${target}`).toBe(true);
      }
    }
  });
});
