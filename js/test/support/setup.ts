// Builds, once for all tests, what they run against: dist/ and the Go server.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  export interface ProvidedContext {
    serverBinary: string;
  }
}

const root = join(import.meta.dirname, '../..');

export default function setup(project: TestProject): () => void {
  // `npm test` has built dist/ already, to check types against it.
  if (process.env['npm_lifecycle_event'] !== 'test') execFileSync(process.execPath, ['scripts/build.mjs'], { cwd: root, stdio: 'inherit' });
  const folder = mkdtempSync(join(tmpdir(), 'juggler-js-'));
  const binary = join(folder, 'server');
  execFileSync('go', ['build', '-o', binary, './test/server'], { cwd: root, stdio: 'inherit' });
  project.provide('serverBinary', binary);
  return () => rmSync(folder, { recursive: true, force: true });
}
