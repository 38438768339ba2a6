// What the page knows: states that are read once and followed, over lost connections and deploys.
import { useChannelState, useSubscription } from '@juggler-go/client/react';
import { useEffect, useState, useSyncExternalStore } from 'react';
import { client, type RoomName } from './client';

/** The newest messages of a room. */
export function useRoom(room: RoomName) {
  return useChannelState(client, `room.${room}`, {
    uri: `room.${room}.history`,
    // Two that are posted at once may come in the other order, or be in the history already.
    apply: (messages, { args }) =>
      messages?.some(({ id }) => id === args.id) ? messages : [...(messages ?? []), args].sort((a, b) => a.id - b.id),
  });
}

/** How far the user has read each room, on whatever device. */
export function useReads(user: string) {
  return useChannelState(client, `reads.${user}`, {
    uri: 'me.reads',
    apply: (reads, { args }) => ({ ...reads, [args.room]: Math.max(reads?.[args.room] ?? 0, args.id) }),
  }).data;
}

/** Who else types in a room: whoever said so within the last three seconds. */
export function useTyping(room: string, me: string) {
  const [typing, setTyping] = useState<Record<string, number>>({});
  useSubscription(client, `typing.${room}.*`, ({ channel }) => {
    const user = channel.slice(`typing.${room}.`.length);
    if (user !== me) setTyping((typing) => ({ ...typing, [user]: Date.now() }));
  }, { pattern: true });
  useEffect(() => {
    if (Object.keys(typing).length === 0) return;
    const timer = setTimeout(() => {
      setTyping((typing) => Object.fromEntries(Object.entries(typing).filter(([, at]) => Date.now() - at < 3000)));
    }, 1000);
    return () => clearTimeout(timer);
  }, [typing]);
  return Object.keys(typing);
}

const onVisible = (changed: () => void) => {
  document.addEventListener('visibilitychange', changed);
  return () => document.removeEventListener('visibilitychange', changed);
};

/** Whether the page is seen. */
export const useVisible = () => useSyncExternalStore(onVisible, () => document.visibilityState === 'visible');
