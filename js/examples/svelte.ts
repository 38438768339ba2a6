// Svelte: stores, for `$connection` and `$chat` in a component.
import { Client, type State } from '@juggler-go/client';
import { readable, type Readable } from 'svelte/store';
import type { App } from './contract.js';

const client = new Client<App>('ws://127.0.0.1:8080/');

export const connection: Readable<State> = readable(client.state, (set) => {
  set(client.state);
  return client.on('state', set);
});

/** For `{#await reverse(room)}…{:then title}{title}{:catch error}{error.message}{/await}`. */
export const reverse = (text: string): Promise<string> => client.call('test.reverse', text);

/** The lines of a room, from the first subscriber to the store to the last. */
export function chat(room: string): Readable<string[]> {
  return readable<string[]>([], (_, update) => {
    const add = (line: string): void => update((lines) => [...lines, line]);
    const subscription = client.subscribe(
      `chat.${room}`,
      { onError: ({ message }) => add(`(${message})`) },
      ({ args }) => add(`${args.from}: ${args.text}`),
    );
    return subscription.unsubscribe;
  });
}
