// Builds dist/: the ESM entries and their types, and one minified file for a
// plain <script>, where the client is `juggler.Client`.
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);
rmSync('dist', { recursive: true, force: true });

const common = { absWorkingDir: root, bundle: true, target: 'es2022', sourcemap: true, outdir: 'dist', logLevel: 'warning' };
await Promise.all([
  build({
    ...common,
    entryPoints: ['src/index.ts', 'src/react.ts', 'src/testing.ts'],
    format: 'esm',
    external: ['react'],
  }),
  build({
    ...common,
    entryPoints: { 'juggler.min': 'src/script.ts' },
    format: 'iife',
    minify: true,
  }),
]);
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' });
