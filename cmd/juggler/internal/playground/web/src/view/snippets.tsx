import { action, connection } from '../model.js';
import { languages, type Action } from '../snippets.js';
import { CopyButton } from './copy.js';
import { Tabs } from './tabs.js';

const title = (done: Action): string => (done.kind === 'call' ? `call ${done.uri}` : `${done.kind} ${done.channel}`);

/** How programs do what was done last. */
export function SnippetPanel() {
  const done = action.value;
  return (
    <section class="panel snippets" aria-label="Snippets">
      {done ? <Snippets done={done} /> : <p class="empty">What you do is shown here as code: in TypeScript, in Go, and for wscat.</p>}
    </section>
  );
}

function Snippets({ done }: { readonly done: Action }) {
  const protocol = connection.protocol.value;
  const place = { url: connection.url.value, protocol, token: protocol === 'juggler.1' && connection.token.value !== '' };
  const tabs = Object.fromEntries(
    Object.entries(languages).map(([name, write]) => {
      const code = write(done, place);
      const shown = (
        <div class="outcome">
          <pre tabIndex={0} aria-label={`${name} code`}>
            {code}
          </pre>
          <CopyButton what={`${name} code`} text={() => code} />
        </div>
      );
      return [name, shown];
    }),
  );
  return (
    <Tabs label="Code in" tabs={tabs}>
      <small>{title(done)}</small>
    </Tabs>
  );
}
