import { Client } from '@juggler-go/client';
import type { App } from './contract';

/** The page's one connection. It opens when somebody has signed in and the first room is shown. */
export const client = new Client<App>(`${location.origin.replace('http', 'ws')}/ws`);
