// The client against the prober of the command: whether it keeps to docs/protocol.md.
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { patience } from '../support/patience.js';

const root = join(import.meta.dirname, '../../..');

it('keeps to the protocol in every case', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'juggler-prober-'));
  try {
    const juggler = join(folder, 'juggler');
    execFileSync('go', ['build', '-o', juggler, './cmd/juggler'], { cwd: root, stdio: 'inherit' });
    const program = [process.execPath, join(import.meta.dirname, '../support/prober.mjs')];
    const options = ['--level', 'all', '--parallel', '8', '--patience', `${patience}ms`];
    const { stdout } = await promisify(execFile)(juggler, ['prober', ...options, ...program]).catch((failed) => failed);
    expect(stdout).toMatch(/^[1-9]\d+ passed, 0 failed, 0 left out\n$/m);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
