// React: hooks that cost nothing when they are not imported.
import { Client } from '@juggler-go/client';
import { useCall, useConnection, useMembers, useSubscription } from '@juggler-go/client/react';
import { useState } from 'react';
import type { App } from './contract.js';

const client = new Client<App>('ws://127.0.0.1:8080/');

export function Chat({ room }: { room: string }) {
  const [lines, setLines] = useState<string[]>([]);
  const { status } = useConnection(client);
  const { members = [], count = 0 } = useMembers(client, `chat.${room}`);
  const title = useCall(client, 'test.reverse', room);
  const { ready, error } = useSubscription(
    client,
    `chat.${room}`,
    ({ args }) => setLines((lines) => [...lines, `${args.from}: ${args.text}`]),
    { onGap: title.refresh },
  );

  if (error) return <p>Not allowed here: {error.message}</p>;
  return (
    <section aria-busy={!ready}>
      <h1>{title.pending ? '…' : (title.error?.message ?? title.data)}</h1>
      <p>
        {status}
        {count > 0 && `, ${count} here: ${members.map(({ user }) => user).join(', ')}`}
      </p>
      <ul>
        {lines.map((line, i) => (
          <li key={i}>{line}</li>
        ))}
      </ul>
    </section>
  );
}
