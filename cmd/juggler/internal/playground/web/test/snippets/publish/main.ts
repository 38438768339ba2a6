import { Client } from '@juggler-go/client';

const client = new Client("ws://127.0.0.1:8080/?user=o'hara");

await client.publish("room.7", {"n":1});
await client.close();
