// The packed package, installed, in tools of all ages that load packages.
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { installed } from '../support/installed.js';

const root = join(import.meta.dirname, '../..');
const apps = join(root, 'test/runtimes/apps');
let folder: string;

/** What a program prints on its standard output. It throws if the program fails, with what it prints. */
async function run(program: string, args: string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  const running = promisify(execFile)(program, args, { cwd: apps, env: { ...process.env, ...env }, timeout: 380_000 });
  return (await running.catch((error) => Promise.reject(new Error(`${error.stdout}\n${error.stderr}`)))).stdout;
}
const node = (...args: string[]): Promise<string> => run(process.execPath, args);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'juggler-js-consumers-'));
  // dist/ was built for these tests: no scripts.
  execFileSync('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder], { cwd: root });
  const place = join(installed('react'), '../@juggler-go/client');
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place, { recursive: true });
  execFileSync('sh', ['-c', `tar -xzf "${folder}"/*.tgz -C "${place}" --strip-components=1`]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What apps/app.js prints. */
const worked = {
  sum: 2,
  got: [{ title: 'Hello' }],
  failure: [true, true, 'JugglerError', 422, { field: 1 }],
  hook: 'function',
  state: 'closed',
};

describe('CommonJS', () => {
  it('Node loads it', async () => {
    const code = `console.log(typeof require('@juggler-go/client').Client, typeof require('@juggler-go/client/testing').MockServer)`;
    expect((await node('-e', code)).trim()).toBe('function function');
  });

  it('Jest does with its default settings', async () => {
    await node(installed('jest/bin/jest.js'), '--rootDir', join(apps, 'jest'));
  });

  it('its copy of the package and that of ES modules know the errors of each other', async () => {
    const code = `
      import { createRequire } from 'node:module';
      import { JugglerError } from '@juggler-go/client';
      const other = createRequire(import.meta.url)('@juggler-go/client').JugglerError;
      const [mine, its] = [JugglerError, other].map((type) => new type(404, 'nobody', 'refused'));
      console.log(JugglerError === other, its instanceof JugglerError, mine instanceof other);`;
    expect((await node('--input-type=module', '-e', code)).trim()).toBe('false true true');
  });
});

describe('bundlers', () => {
  it('webpack 4', async () => {
    const out = join(folder, 'webpack.js');
    await run(process.execPath, ['webpack.cjs', out], { NODE_OPTIONS: '--openssl-legacy-provider' });
    expect(JSON.parse(await node(out))).toEqual(worked);
  });

  const transformers = { metro76: 'metro-react-native-babel-transformer', metro81: '@react-native/metro-babel-transformer' };
  it.each([
    ['React Native 0.72', 'metro76', false],
    ['React Native 0.72, with package exports', 'metro76', true],
    ['React Native 0.76', 'metro81', false],
    ['React Native 0.76, with package exports', 'metro81', true],
  ] as const)('Metro of %s, and the bundle runs in Hermes', async (_, metro, withExports) => {
    const out = join(folder, `${metro}-${withExports}.js`);
    await node('metro.cjs', metro, transformers[metro], String(withExports), out);
    execFileSync('sh', ['-c', 'cat "$0" "$1" >"$2"', join(apps, 'hermes.js'), out, `${out}.bundle`]);
    const hermes = installed('hermes-engine-cli/linux64-bin/hermes');
    expect(JSON.parse(await run(hermes, ['-Xes6-promise', '-Xmicrotask-queue', '-w', `${out}.bundle`]))).toEqual(worked);
  });
});

const compilers = {
  'TypeScript 5.0': 'typescript50',
  'TypeScript 5.9': 'typescript59',
  'TypeScript 6.0': '../../../node_modules/typescript',
};
const settings = [
  ['node10 in CommonJS', 'commonjs', { module: 'commonjs', moduleResolution: 'node10' }],
  ['node16 in CommonJS', 'commonjs', { module: 'node16', moduleResolution: 'node16' }],
  ['node16 in ES modules', 'module', { module: 'node16', moduleResolution: 'node16' }],
  ['a bundler', 'module', { module: 'esnext', moduleResolution: 'bundler' }],
] as const;

describe.each(Object.entries(compilers))('the types in %s', (name, compiler) => {
  it.each(settings)('resolved as by %s', async (_, type, resolution) => {
    const app = mkdtempSync(join(installed('react'), '../.app-'));
    const compilerOptions = {
      strict: true,
      noEmit: true,
      target: 'ES2022',
      lib: ['ES2022', 'DOM'],
      types: [],
      skipLibCheck: type === 'commonjs', // The types are the same for all.
      ...(name === 'TypeScript 6.0' && resolution.module === 'commonjs' && { ignoreDeprecations: '6.0' }),
      ...resolution,
    };
    try {
      writeFileSync(join(app, 'package.json'), JSON.stringify({ type }));
      writeFileSync(join(app, 'use.ts'), readFileSync(join(apps, 'use.ts')));
      writeFileSync(join(app, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['use.ts'] }));
      expect(await node(join(installed(compiler), 'bin/tsc'), '-p', app)).toBe('');
    } finally {
      rmSync(app, { recursive: true, force: true });
    }
  });
});
