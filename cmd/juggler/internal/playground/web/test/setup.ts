// Starts, once for all tests, the server whose page they look at: the demo, as people do.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  export interface ProvidedContext {
    /** The second line that the demo prints. */
    playground: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = mkdtempSync(join(tmpdir(), 'juggler-playground-'));
  const binary = join(folder, 'juggler');
  execFileSync('go', ['build', '-o', binary, '.'], { cwd: join(import.meta.dirname, '../../../..'), stdio: 'inherit' });
  const demo = spawn(binary, ['demo', '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  process.once('exit', () => demo.kill('SIGKILL'));
  const lines = createInterface(demo.stdout)[Symbol.asyncIterator]();
  await lines.next();
  project.provide('playground', (await lines.next()).value as string);
  return async () => {
    demo.kill();
    if (demo.exitCode === null) await once(demo, 'exit');
    rmSync(folder, { recursive: true, force: true });
  };
}
