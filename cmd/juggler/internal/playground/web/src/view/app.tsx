import { CallForm } from './call.js';
import { Chart } from './chart.js';
import { ConnectionBar } from './connection.js';
import { PublishForm } from './publish.js';
import { Results } from './results.js';
import { SnippetPanel } from './snippets.js';
import { SubscribeForm } from './subscribe.js';
import { Tabs } from './tabs.js';
import { Timeline } from './timeline.js';

export function App() {
  return (
    <>
      <ConnectionBar />
      <main>
        <div class="column do">
          <section class="panel" aria-label="Requests">
            <Tabs
              label="What to do"
              tabs={{ Call: <CallForm />, Subscribe: <SubscribeForm />, Publish: <PublishForm /> }}
            />
          </section>
          <Results />
        </div>
        <div class="column see">
          <Chart />
          <Timeline />
          <SnippetPanel />
        </div>
      </main>
    </>
  );
}
