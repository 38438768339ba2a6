import { Client, withKey } from '@juggler-go/client';

const client = new Client("ws://127.0.0.1:8080/?user=o'hara", { auth: () => process.env.TOKEN });

console.log(await client.call("test.echo", [1], withKey("order-7", { timeout: 5000 })));
await client.close();
