import { existsSync } from 'node:fs';
import { join } from 'node:path';

/** Where a file is of the runtimes and tools that test/runtimes/package.json names. */
export function installed(path: string): string {
  const file = join(import.meta.dirname, '../runtimes/node_modules', path);
  if (!existsSync(file)) throw new Error(`${file} is missing: \`npm run runtimes\` installs it`);
  return file;
}
