// Without a framework: a chat in 30 lines.
import { Client, type JugglerError } from '@juggler-go/client';
import type { App } from './contract.js';

const client = new Client<App>('ws://127.0.0.1:8080/');
const log = document.querySelector('#log')!;
const input = document.querySelector<HTMLInputElement>('#text')!;

const say = (text: string): void => log.append(`${text}\n`);
const sayError = ({ message }: JugglerError): void => say(`(${message})`);

client.on('state', ({ status }) => document.body.setAttribute('data-connection', status));
client.on('refused', sayError);
client.subscribe('chat', { onGap: () => say('(some messages may be missing)'), onError: sayError }, ({ args }) => {
  say(`${args.from}: ${args.text}`);
});

input.addEventListener('change', async () => {
  try {
    await client.publish('chat', { from: 'me', text: input.value });
    input.value = await client.call('test.reverse', input.value);
  } catch (error) {
    sayError(error as JugglerError);
  }
});
