import { Client } from '@juggler-go/client';

const client = new Client("ws://127.0.0.1:8080/?user=o'hara", { auth: () => process.env.TOKEN });

client.subscribe("news.*", { pattern: true }, ({ channel, args }) => {
  console.log(channel, args);
});
