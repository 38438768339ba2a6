import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { slug } from 'github-slugger';
import { defineConfig } from 'vitepress';
import { groups, paths, repository, resolve } from '../pages.mjs';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const root = here('../../../');

export default defineConfig({
  title: 'juggler',
  description: 'Asynchronous RPC and pub-sub over one WebSocket, for Go backends',
  srcDir: root,
  // Only what pages.mjs lists: everything else is kept out of the glob.
  srcExclude: ['!(docs|js)/**/*', 'docs/*/**/*', 'js/!(docs)/**/*', 'js/docs/*/**/*', 'js/docs/!(migrating).md', '!(README|CHANGELOG|CONTRIBUTING).md', 'js/!(README).md'],
  rewrites: Object.fromEntries([...paths].map(([source, path]) => [source, `${path}.md`])),
  outDir: here('dist'),
  cleanUrls: true,
  head: [['link', { rel: 'icon', href: 'data:,' }]], // or browsers ask for one
  // The sources are above the folder in which Vue is installed.
  vite: { resolve: { alias: [{ find: /^vue(?=\/|$)/, replacement: here('../node_modules/vue') }] } },
  markdown: {
    anchor: { slugify: slug }, // as the repository's pages have them
    config: (md) => {
      md.core.ruler.push('links', ({ tokens, env }) => {
        for (const { children } of tokens) {
          for (const token of children ?? []) {
            if (token.type !== 'link_open') continue;
            token.attrSet('href', resolve(env.relativePath, token.attrGet('href'), (file) => existsSync(root + file)));
          }
        }
      });
    },
  },
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    sidebar: groups.map(({ text, pages }) => ({
      text,
      items: pages.map(([, path, title]) => ({ text: title, link: `/${path.replace(/^index$/, '')}` })),
    })),
    socialLinks: [{ icon: 'github', link: repository }],
  },
});
