/** @jsxImportSource solid-js */
// Solid: signals that follow the client.
import { Client, type State } from '@juggler-go/client';
import { For, createResource, createSignal, onCleanup, type Accessor } from 'solid-js';
import type { App } from './contract.js';

const client = new Client<App>('ws://127.0.0.1:8080/');

export function createConnection(): Accessor<State> {
  const [state, setState] = createSignal(client.state);
  onCleanup(client.on('state', (now) => setState(now)));
  return state;
}

export function Chat(props: { room: string }) {
  const state = createConnection();
  const [lines, setLines] = createSignal<string[]>([]);
  const [title] = createResource(
    () => props.room,
    (room) => client.call('test.reverse', room),
  );
  const add = (line: string): void => void setLines((lines) => [...lines, line]);
  const subscription = client.subscribe(
    `chat.${props.room}`,
    { onError: ({ message }) => add(`(${message})`) },
    ({ args }) => add(`${args.from}: ${args.text}`),
  );
  onCleanup(subscription.unsubscribe);

  return (
    <section>
      <h1>{title.error ? title.error.message : title()}</h1>
      <p>{state().status}</p>
      <For each={lines()}>{(line) => <p>{line}</p>}</For>
    </section>
  );
}
