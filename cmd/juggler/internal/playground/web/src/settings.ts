/** What the server says that the page begins with: a Config of the Go package. */
export interface Settings {
  /** Path and query of the WebSocket. */
  readonly webSocket: string;
  readonly uris: readonly string[];
  readonly channels: readonly string[];
}

/** What it has not said. `npm run dev` passes /ws on to a demo. */
const defaults: Settings = { webSocket: '/ws', uris: [], channels: [] };

function readSettings(): Settings {
  const text = document.querySelector<HTMLMetaElement>('meta[name=playground]')!.content;
  return text.startsWith('{{') ? defaults : { ...defaults, ...(JSON.parse(text) as Partial<Settings>) };
}

export const settings = readSettings();

/** The server's WebSocket, as the page sees it: a proxy may have put a path before its own. */
export function webSocketURL(): string {
  const url = new URL(`..${settings.webSocket}`, document.baseURI);
  url.protocol = url.protocol.replace('http', 'ws');
  return url.href;
}
