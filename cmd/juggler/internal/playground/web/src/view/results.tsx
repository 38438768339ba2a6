import type { Call, Progress } from '../calls.js';
import { compact } from '../json.js';
import { calls, subscriptions, unsubscribe } from '../model.js';
import type { Subscription } from '../subscriptions.js';
import { CopyButton } from './copy.js';
import { ms } from './format.js';
import { useStayAtEnd } from './stay.js';

/** What came of what was done. */
export function Results() {
  const nothing = calls.value.length + subscriptions.value.length === 0;
  return (
    <section class="panel results" aria-label="Results">
      <h2>Results</h2>
      {nothing && <p class="empty">Call a URI, or subscribe to a channel: what comes of it is shown here.</p>}
      {subscriptions.value.map((subscription) => (
        <SubscriptionCard key={`s${subscription.n}`} subscription={subscription} />
      ))}
      {calls.value.map((call) => (
        <CallCard key={`c${call.n}`} call={call} />
      ))}
    </section>
  );
}

function CallCard({ call }: { readonly call: Call }) {
  const { uri } = call.request;
  const progress = call.progress.value;
  const { status, parts, count, took } = progress;
  return (
    <article class={`card ${status}`} aria-label={`Call of ${uri}`}>
      <header>
        <h3>{uri}</h3>
        <span class="badge" role="status">
          {status}
        </span>
        <small>
          {count > 0 && `${count} parts`} {took !== undefined && ms(took)}
        </small>
        {status === 'running' && (
          <button type="button" onClick={() => call.cancel()}>
            Cancel
          </button>
        )}
      </header>
      {count > 0 && <Parts parts={parts} count={count} />}
      <Outcome progress={progress} />
    </article>
  );
}

function Parts({ parts, count }: Pick<Progress, 'parts' | 'count'>) {
  const first = count - parts.length + 1;
  return (
    <ol class="parts" aria-label="Parts" start={first} {...useStayAtEnd<HTMLOListElement>(parts)}>
      {parts.map((part, i) => (
        <li key={first + i}>{compact(part)}</li>
      ))}
    </ol>
  );
}

function Outcome({ progress: { status, result, error } }: { readonly progress: Progress }) {
  if (status === 'running') return null;
  if (error) {
    return (
      <div class="outcome">
        <p class="error">
          <b>{error.code}</b> {error.message} <small>({error.outcome})</small>
        </p>
        {error.data !== undefined && <pre>{JSON.stringify(error.data, undefined, 2)}</pre>}
      </div>
    );
  }
  const text = result === undefined ? '' : JSON.stringify(result, undefined, 2);
  return (
    <div class="outcome">
      <pre>{text || 'no result'}</pre>
      {text !== '' && <CopyButton what="result" text={() => text} />}
    </div>
  );
}

function SubscriptionCard({ subscription }: { readonly subscription: Subscription }) {
  const { channel, pattern, here: asked } = subscription.request;
  const { status, error, events, count, gaps, here } = subscription.feed.value;
  return (
    <article class={`card ${status}`} aria-label={`Subscription to ${channel}`}>
      <header>
        <h3>{channel}</h3>
        <span class="badge" role="status">
          {status}
        </span>
        <small>
          {count} events{gaps > 0 && `, ${gaps} gaps`}
        </small>
        <button type="button" onClick={() => unsubscribe(subscription)}>
          Unsubscribe
        </button>
      </header>
      {error && status === 'refused' && (
        <p class="error">
          <b>{error.code}</b> {error.message}
        </p>
      )}
      {asked && (
        <p class="here">
          <b>There:</b> {here ?? '…'}
        </p>
      )}
      {events.length > 0 && (
        <ol class="events" aria-label="Events, newest first" tabIndex={0}>
          {events.map((event, i) => (
            <li key={count - i}>
              {pattern && <b>{event.channel} </b>}
              {compact(event.args)}
            </li>
          ))}
        </ol>
      )}
    </article>
  );
}
