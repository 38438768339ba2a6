import { withKey } from '@juggler-go/client';
import { useStream } from '@juggler-go/client/react';
import { useState, type SubmitEvent } from 'react';
import { client } from './client';

/** A question, and the key of its call. They are stored, so that the page finds the answer again when it is loaded anew. */
interface Asked {
  id: string;
  question: string;
  since?: 0; // only join the call, which was made
}

export function Answer({ user }: { user: string }) {
  const place = `asked.${user}`;
  const [asked, setAsked] = useState<Asked | undefined>(() => {
    const stored = localStorage.getItem(place);
    return stored ? { ...JSON.parse(stored), since: 0 } : undefined;
  });
  const ask = (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    const asked = { id: crypto.randomUUID(), question: String(new FormData(event.currentTarget).get('question')) };
    localStorage.setItem(place, JSON.stringify(asked)); // before it is called
    setAsked(asked);
    event.currentTarget.reset();
  };
  return (
    <section aria-label="Assistant">
      <h2>Assistant</h2>
      <form onSubmit={ask}>
        <input name="question" aria-label="Question" placeholder="Ask something" required maxLength={200} autoComplete="off" />
        <button>Ask</button>
      </form>
      {asked && <Words key={asked.id} {...asked} />}
    </section>
  );
}

/** An answer word by word, which goes on over lost connections, deploys, and in other tabs. */
function Words({ id, question, since }: Asked) {
  const [stop] = useState(() => new AbortController());
  const { parts, error, pending } = useStream(
    client,
    'me.answer',
    question,
    withKey(id, { timeout: 300_000, since, stop: stop.signal }),
  );
  return (
    <>
      <p className="answer" aria-live="polite" aria-busy={pending}>
        {parts.join(' ')}
        {error && ` (${error.code === 410 ? 'This answer is not kept any more.' : error.message})`}
      </p>
      {pending && <button onClick={() => stop.abort()}>Stop</button>}
    </>
  );
}
