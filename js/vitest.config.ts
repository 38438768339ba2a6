import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.{ts,tsx}'],
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/{integration,package}/**/*.test.ts'],
          globalSetup: ['test/support/setup.ts'],
          // For the test of memory.
          execArgv: ['--expose-gc'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
    // The machines that run this have few cores.
    maxWorkers: 2,
  },
});
