import { Client, stream, withKey } from '@juggler-go/client';

const client = new Client("ws://127.0.0.1:8080/?user=o'hara", { auth: () => process.env.TOKEN });

const answer = stream(client, "test.echo", "x", withKey("order-7", { timeout: 5000, parts: 8 }));
for await (const part of answer) console.log(part);
console.log(await answer.result);
await client.close();
