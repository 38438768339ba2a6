export { default } from 'vitepress/theme-without-fonts'; // the reader's own, and nothing to load
