// Finds letters for what `names.mjs` shortens with which the client is small
// once it is minified and gzipped: it changes letters at random, and keeps what
// helps. node scripts/tune.mjs [SECONDS] writes scripts/letters.json.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { LETTERS, TUNED, familiesOf, shortNames } from './names.mjs';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));
const seconds = Number(process.argv[2] ?? 300);

const families = familiesOf('src');
const names = Object.keys(families);
const conflicts = names.map((name, i) => names.flatMap((other, k) => (k !== i && families[other].some((family) => families[name].includes(family)) ? [k] : [])));

/** What esbuild makes of a bundle's entry. */
async function bundle(stdin, options) {
  const { outputFiles } = await build({ stdin, bundle: true, format: 'esm', target: 'es2022', write: false, ...options });
  return outputFiles[0].text;
}

const mangleCache = Object.fromEntries(names.map((name, i) => [name, `QQ${i}QQ`]));
const entry = { contents: `export { Client, CoreClient, JugglerError } from './src/index.js'`, resolveDir: process.cwd() };
const built = await bundle(entry, { platform: 'neutral', minifySyntax: true, mangleProps: /^_[a-z]/, mangleCache });
/** The client in an application's bundle, split where a name belongs. */
const parts = (await bundle({ contents: built }, { minify: true, define: { 'process.env.NODE_ENV': '"production"' } })).split(/QQ(\d+)QQ/);
const size = (letters) => gzipSync(parts.map((part, i) => (i % 2 ? letters[part] : part)).join(''), { level: 9 }).length;

/** Gives a name another letter; one that may not have the same then gets the old one. Undefined: that would not do. */
function changed(letters, i, letter) {
  const next = [...letters];
  next[i] = letter;
  for (const other of conflicts[i]) {
    if (next[other] !== letter) continue;
    next[other] = letters[i];
    if (conflicts[other].some((k) => next[k] === letters[i])) return undefined;
  }
  return next;
}

const pick = (list) => list[Math.floor(Math.random() * list.length)];

const known = shortNames('src');
let letters = names.map((name) => known[name]);
let now = size(letters);
let best = [now, letters];
console.log(`${now} bytes`);
for (const start = Date.now(); ; ) {
  const left = 1 - (Date.now() - start) / (seconds * 1_000);
  if (left <= 0) break;
  const next = changed(letters, Math.floor(Math.random() * names.length), pick(LETTERS.slice(0, 40)));
  if (!next) continue;
  const then = size(next);
  // At first it also takes what is a little worse, lest it ends where no single change helps.
  if (then > now && Math.random() >= Math.exp((now - then) / left)) continue;
  [now, letters] = [then, next];
  if (now < best[0]) best = [now, letters];
}
console.log(`${best[0]} bytes`);
writeFileSync(TUNED, `${JSON.stringify(Object.fromEntries(names.map((name, i) => [name, best[1][i]]).sort()), null, 1)}\n`);
