import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { configDefaults, defineConfig } from 'vitest/config';
import { naming, retry } from './test/support/chance.js';
import { patience } from './test/support/patience.js';

/** What needs the runtimes and tools of test/runtimes, more than a gigabyte: CI has to have them. */
const inOthers = ['test/integration/runtimes.test.ts', 'test/package/consumers.test.ts'];
const left = process.env['CI'] || existsSync(join(import.meta.dirname, 'test/runtimes/node_modules')) ? [] : inOthers;
if (left.length > 0) console.warn(`left out: ${left.join(', ')}; \`npm run runtimes\` installs what they need (on Linux)`);

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.{ts,tsx}'],
          retry,
          // A machine that is busy with other work stands still for longer than the default, 5 s.
          testTimeout: patience,
          hookTimeout: patience,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/{integration,package}/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...left],
          globalSetup: ['test/support/setup.ts'],
          // For the test of memory.
          execArgv: ['--expose-gc'],
          retry,
          testTimeout: 400_000,
          hookTimeout: 400_000,
        },
      },
    ],
    reporters: ['default', naming],
    // The machines that run this have few cores.
    maxWorkers: 2,
  },
});
