import { Client } from '@juggler-go/client';
import { createApp, ref } from 'vue';
import type { App } from '../../examples/contract.js';
import { Chat } from '../../examples/vue.js';

// Kept in a ref, a client is used through Vue's Proxy.
const client = ref(new Client<App>('ws://127.0.0.1:8080/'));
await client.value.subscribe('chat.go', () => {}).ready;
await client.value.call('test.reverse', 'go');
await client.value.close();

createApp(Chat, { room: 'go' }).mount('main');
