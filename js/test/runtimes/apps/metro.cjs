// Bundles app.js with a version of Metro: metro.cjs METRO TRANSFORMER EXPORTS OUT
const { existsSync } = require('node:fs');
const path = require('node:path');

const [, , metro, transformer, withExports, out] = process.argv;
const Metro = require(metro);
const root = path.dirname(__dirname);
// Metro reads and hashes all that it watches: not the other tools, which are a gigabyte.
const used = ['@juggler-go', '@babel', 'react', 'regenerator-runtime', 'metro-runtime', metro, `${metro}-runtime`];

async function main() {
  const config = await Metro.loadConfig({ config: undefined, cwd: root }, {});
  const resolver = { ...config.resolver, sourceExts: ['js', 'json'] };
  if (withExports === 'true') resolver.unstable_enablePackageExports = true;
  await Metro.runBuild(
    {
      ...config,
      projectRoot: __dirname,
      watchFolders: [__dirname, ...used.map((name) => path.join(root, 'node_modules', name)).filter(existsSync)],
      maxWorkers: 1,
      resetCache: true,
      reporter: { update() {} },
      resolver,
      transformer: { ...config.transformer, babelTransformerPath: require.resolve(transformer) },
    },
    { entry: 'app.js', out, dev: false, minify: false },
  );
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error.message);
    process.exit(1);
  },
);
