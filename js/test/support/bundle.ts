// What an application's build makes of a page, with the compilers that the frameworks bring.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { transformAsync } from '@babel/core';
import { build, transform, type Plugin } from 'esbuild';
import { compile } from 'svelte/compiler';

const root = join(import.meta.dirname, '../..');
const dist = (entry: string): string => join(root, 'dist', entry);

const svelte: Plugin = {
  name: 'svelte',
  setup({ onLoad }) {
    onLoad({ filter: /\.svelte$/ }, async ({ path }) => {
      const { js } = compile(await readFile(path, 'utf8'), { filename: path, generate: 'client' });
      return { contents: js.code, loader: 'js' };
    });
  },
};

const solid: Plugin = {
  name: 'solid',
  setup({ onLoad }) {
    onLoad({ filter: /solid\.tsx$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, 'utf8'), { loader: 'tsx', jsx: 'preserve', target: 'es2022' });
      const compiled = await transformAsync(code, { filename: path, presets: ['solid'], babelrc: false, configFile: false });
      return { contents: compiled!.code!, loader: 'js' };
    });
  },
};

/** Bundles a file of this package with the built client. */
export async function bundle(file: string): Promise<string> {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: [file],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    conditions: ['browser', 'development'],
    define: { 'process.env.NODE_ENV': '"development"' },
    tsconfig: 'examples/tsconfig.json',
    alias: {
      '@juggler-go/client': dist('index.js'),
      '@juggler-go/client/react': dist('react.js'),
    },
    plugins: [svelte, solid],
  });
  return outputFiles[0]!.text;
}
