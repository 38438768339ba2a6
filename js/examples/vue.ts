// Vue: two composables, and a component that uses them.
import { Client, type JugglerError, type State } from '@juggler-go/client';
import { defineComponent, h, onScopeDispose, ref, shallowRef, type Ref } from 'vue';
import type { App } from './contract.js';

const client = new Client<App>('ws://127.0.0.1:8080/');

export function useConnection(): Readonly<Ref<State>> {
  const state = shallowRef(client.state);
  onScopeDispose(client.on('state', (now) => (state.value = now)));
  return state;
}

export function useChat(room: string): Readonly<Ref<string[]>> {
  const lines = ref<string[]>([]);
  const subscription = client.subscribe(
    `chat.${room}`,
    { onError: ({ message }) => lines.value.push(`(${message})`) },
    ({ args }) => lines.value.push(`${args.from}: ${args.text}`),
  );
  onScopeDispose(subscription.unsubscribe);
  return lines;
}

export const Chat = defineComponent({
  props: { room: { type: String, required: true } },
  setup(props) {
    const state = useConnection();
    const title = ref('');
    client.call('test.reverse', props.room).then(
      (reversed) => (title.value = reversed),
      (error: JugglerError) => (title.value = error.message),
    );
    const lines = useChat(props.room);
    return () => h('section', [h('h1', title.value), h('p', state.value.status), ...lines.value.map((line) => h('p', line))]);
  },
});
