import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

const server = 'http://127.0.0.1:8080';
const client = (file: string) => new URL(`../../../js/src/${file}.ts`, import.meta.url).pathname;

export default defineConfig({
  plugins: [react()],
  resolve: {
    // The client of this repository. An application of its own has the package of npm, and nothing here.
    alias: {
      '@juggler-go/client/react': client('react'),
      '@juggler-go/client': client('index'),
    },
    dedupe: ['react'],
  },
  server: { proxy: { '/ws': { target: server, ws: true }, '/me': server, '/login': server, '/logout': server } },
});
