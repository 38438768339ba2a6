import { Client } from '@juggler-go/client';

export const edition = 1;

// As the README says it.
const last = globalThis as { client?: Client };
void last.client?.close();
export const client = (last.client = new Client(new URLSearchParams(location.search).get('server')!));
