import { defineConfig } from 'vitest/config';
import { naming, retry } from '../../../../../js/test/support/chance.js';
import { patience } from '../../../../../js/test/support/patience.js';

export default defineConfig({
  test: {
    include: ['test/*.test.ts'],
    globalSetup: ['test/setup.ts'],
    retry,
    testTimeout: patience,
    hookTimeout: patience,
    reporters: ['default', naming],
    maxWorkers: 2, // the machines that run this have few cores
  },
});
