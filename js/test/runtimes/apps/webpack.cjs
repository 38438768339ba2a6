// Bundles app.js with webpack 4: webpack.cjs OUT
const path = require('node:path');
const webpack = require('webpack');

const output = { path: path.dirname(process.argv[2]), filename: path.basename(process.argv[2]) };
webpack({ mode: 'production', entry: path.join(__dirname, 'app.js'), output }, (error, stats) => {
  if (!error && !stats.hasErrors()) return;
  console.error(error || stats.toString({ all: false, errors: true }));
  process.exit(1);
});
