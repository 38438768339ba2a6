import { useStream } from '@juggler-go/client/react';
import { useState } from 'react';
import { client, type RoomName } from './client';

/** A job that tells how far it is, and ends at the callee when it is cancelled here. */
export function Report({ room }: { room: RoomName }) {
  const [enabled, setEnabled] = useState(false);
  const { parts, result, error, pending, stop, restart } = useStream(client, `room.${room}.report`, undefined, { enabled });
  const { done, total } = parts.at(-1) ?? { done: 0, total: 1 };
  return (
    <section aria-label="Report">
      <h2>Words in {room}</h2>
      {pending ? (
        <>
          <progress aria-label="Messages counted" value={done} max={total} />
          <button onClick={stop}>Cancel</button>
        </>
      ) : (
        <button onClick={() => (enabled ? restart() : setEnabled(true))}>Count</button>
      )}
      <div role="status">
        {error?.message}
        {result && `${Object.entries(result).map(([user, words]) => `${user}: ${words}`).join(', ')}.`}
        {enabled && !pending && !result && !error && 'Cancelled.'}
      </div>
    </section>
  );
}
