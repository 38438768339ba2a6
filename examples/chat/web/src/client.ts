import { Client, type Uri } from '@juggler-go/client';
import type { App } from './contract';

/** The page's one connection. It opens when somebody has signed in and the first room is shown. */
export const client = new Client<App>(`${location.origin.replace('http', 'ws')}/ws`);

/** The rooms, as the contract has them. */
export type RoomName = Uri<App> extends infer U ? (U extends `room.${infer R}.history` ? R : never) : never;
