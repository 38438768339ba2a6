// What is committed is what the source makes, and it is small.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';

const committed = join(import.meta.dirname, '../../assets');
const files = (folder: string): Record<string, string> =>
  Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')]));

it('the assets are those that the source is built to', () => {
  const folder = mkdtempSync(join(tmpdir(), 'juggler-playground-'));
  try {
    execFileSync('npm', ['run', 'build', '--', '--outDir', folder, '--logLevel', 'warn'], {
      cwd: join(import.meta.dirname, '..'),
      env: { ...process.env, NODE_ENV: 'production' }, // as without the test runner's own
      stdio: 'inherit',
    });
    const [now, before] = [files(folder), files(committed)];
    expect(Object.keys(now)).toEqual(Object.keys(before));
    const changed = Object.keys(now).filter((name) => now[name] !== before[name]);
    expect(changed, 'out of date: run `make playground` and commit what it makes').toEqual([]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it('the assets have less than 60 kB', () => {
  const size = Object.values(files(committed)).reduce((sum, text) => sum + gzipSync(text, { level: 9 }).length, 0);
  expect(size).toBeLessThan(60_000);
});
