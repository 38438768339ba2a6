// Builds dist/: the ESM entries and their types; the same for CommonJS, in
// dist/cjs; and two files for a plain <script>, where the client is
// `juggler.Client`: one minified, and one for development.
import { execFileSync } from 'node:child_process';
import { copyFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { shortNames } from './names.mjs';

// In a fresh clone, e.g. for `npm pack`.
const { build } = await import('esbuild').catch(({ code, message }) => {
  console.error(code === 'ERR_MODULE_NOT_FOUND' ? 'The build needs the development dependencies: run `npm ci` in js/ first.' : message);
  process.exit(1);
});

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);
rmSync('dist', { recursive: true, force: true });

const mangled = { mangleProps: /^_[a-z]/, mangleCache: shortNames('src') };
const common = { absWorkingDir: root, bundle: true, ...mangled, outdir: 'dist', logLevel: 'warning' };
// Bundlers of applications leave it to this one to put constants in their places.
// They, too, say whether this is development: `neutral` leaves that open.
// The hooks take the client from its own entry, as a copy of theirs would make it twice as large.
const own = {
  name: 'own',
  setup: ({ onResolve }) => onResolve({ filter: /^\.\/index\.js$/ }, ({ path }) => ({ path, external: true, sideEffects: false })),
};
const entries = { ...common, platform: 'neutral', minifySyntax: true, entryPoints: ['src/index.ts', 'src/react.ts', 'src/otel.ts', 'src/testing.ts'], external: ['react', '@opentelemetry/api'], plugins: [own] };
const script = { ...common, format: 'iife', target: 'es2022' };
await Promise.all([
  build({ ...entries, format: 'esm', target: 'es2022', sourcemap: true }),
  // What loads CommonJS may be old: webpack 4 understands no later syntax.
  build({ ...entries, format: 'cjs', target: 'es2019', outdir: 'dist/cjs' }),
  build({ ...script, entryPoints: { 'juggler.min': 'src/script.ts' }, sourcemap: true, minify: true }),
  build({ ...script, entryPoints: { juggler: 'src/script.ts' }, define: { process: '{"env":{}}' } }),
]);
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json'], { stdio: 'inherit' });

// The ending is .js there, too, as Metro before 0.80 finds no .cjs file: this
// says that such a file is CommonJS, and the types beside it as well.
writeFileSync('dist/cjs/package.json', '{ "type": "commonjs" }\n');
for (const file of readdirSync('dist')) if (file.endsWith('.d.ts')) copyFileSync(`dist/${file}`, `dist/cjs/${file}`);
