// The pages of the site, in the order in which they are read: source, path, title in the
// side bar. The sources are the files that the repository shows, as they are.
export const groups = [
  { text: 'Begin', pages: [
    ['docs/README.md', 'index', 'Where to begin'],
    ['README.md', 'what-it-is', 'What it is'],
    ['docs/first-hour.md', 'first-hour', 'The first hour'],
    ['docs/tutorial.md', 'tutorial', 'To two nodes'],
  ] },
  { text: 'Build', pages: [
    ['docs/guide.md', 'guide', 'Guide'],
    ['docs/once.md', 'once', 'Calls that outlive the connection'],
    ['js/README.md', 'typescript', 'The TypeScript client'],
    ['js/docs/migrating.md', 'migrating', 'From socket.io or SignalR'],
  ] },
  { text: 'Run', pages: [
    ['docs/operations.md', 'operations', 'Operations'],
    ['docs/redis.md', 'redis', 'Redis'],
    ['docs/threats.md', 'threats', 'Threats'],
  ] },
  { text: 'Look up', pages: [
    ['docs/protocol.md', 'protocol', 'Wire protocols'],
    ['docs/writing-a-client.md', 'writing-a-client', 'Writing a client'],
    ['docs/performance.md', 'performance', 'Performance'],
    ['CHANGELOG.md', 'changelog', 'Changes'],
  ] },
  { text: 'Inside', pages: [
    ['docs/design.md', 'design', 'How it works inside'],
    ['docs/performance-notes.md', 'performance-notes', 'Notes on performance'],
    ['CONTRIBUTING.md', 'contributing', 'Contributing'],
  ] },
];

export const repository = 'https://github.com/juggler-go/juggler';

/** The path of each source. */
export const paths = new Map(groups.flatMap((group) => group.pages.map(([source, path]) => [source, path])));

const sources = new Map([...paths].map(([source, path]) => [`${path}.md`, source]));

/**
 * Where a link of a page leads on the site: to a page, or else into the repository.
 * file is that of the page, before or after it was renamed.
 */
export function resolve(file, href, exists) {
  if (/^([a-z]+:|#)/.test(href)) return href;
  const page = sources.get(file) ?? file;
  const [to, hash] = href.split('#');
  const source = new URL(to, `file:///${page}`).pathname.slice(1);
  const end = hash ? `#${hash}` : '';
  if (paths.has(source)) return `/${paths.get(source).replace(/^index$/, '')}${end}`;
  if (!exists(source)) throw new Error(`${page} links to ${href}, which is not there`);
  return `${repository}/blob/main/${source}${end}`;
}
