import { join } from 'node:path';
import { defineConfig } from 'vite';

// Names without a hash, as the server has browsers ask whether a file has changed, and as
// who reads a commit shall see what it changes.
export default defineConfig({
  base: './',
  resolve: { alias: { '@juggler-go/client': join(import.meta.dirname, '../../../../../js/src/index.ts') } },
  build: {
    outDir: '../assets',
    target: ['chrome123', 'firefox120', 'safari17.5'], // the first that have light-dark()
    emptyOutDir: true,
    assetsDir: '',
    modulePreload: false,
    assetsInlineLimit: 0,
    rolldownOptions: {
      output: { entryFileNames: 'app.js', assetFileNames: 'app[extname]' },
    },
  },
  // `npm run dev` shows the page on its own, beside a demo.
  server: { proxy: { '/ws': { target: 'ws://127.0.0.1:8080', ws: true, rewrite: () => '/' } } },
});
