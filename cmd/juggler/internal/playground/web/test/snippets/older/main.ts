// This client speaks juggler.1 only.
import { Client } from '@juggler-go/client';

const client = new Client("ws://127.0.0.1:8080/?user=o'hara");

console.log(await client.call("test.echo", {"text":"\"it's\" `quoted` \\"}, { timeout: 5000 }));
await client.close();
