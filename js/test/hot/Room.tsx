import { useCall, useChannelState, useConnection, useSubscription } from '@juggler-go/client/react';
import { useEffect, useLayoutEffect, useState } from 'react';
import { client, edition } from './client.js';

/** What was on the screen, to be looked at afterwards. */
const commits: { asked: number; data: unknown; pending: boolean }[] = [];

export function Room() {
  const { status } = useConnection(client);
  const last = useChannelState(client, 'numbers', {
    uri: 'test.last',
    apply: (last, { args }) => Math.max(last as number, args as number),
  });
  const [events, setEvents] = useState(0);
  useSubscription(client, 'events', () => setEvents((events) => events + 1));
  const [asked, ask] = useState(0);
  const { data, pending } = useCall(client, 'test.echo', asked);
  useLayoutEffect(() => void commits.push({ asked, data, pending }));
  useEffect(() => void Object.assign(window, { ask, commits }), []);
  return (
    <p>
      version 1 with client {edition}, {status}, last {String(last.data)}, {events} events, asked {asked}, answer {String(data)}
    </p>
  );
}
