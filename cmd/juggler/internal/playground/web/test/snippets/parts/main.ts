import { Client, stream } from '@juggler-go/client';

const client = new Client("ws://127.0.0.1:8080/?user=o'hara");

const answer = stream(client, "test.echo", undefined, { timeout: 5000, parts: 32 });
for await (const part of answer) console.log(part);
console.log(await answer.result);
await client.close();
