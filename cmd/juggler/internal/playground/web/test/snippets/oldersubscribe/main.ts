// This client speaks juggler.1 only.
import { Client } from '@juggler-go/client';

const client = new Client("ws://127.0.0.1:8080/?user=o'hara");

client.subscribe("room.7", ({ channel, args }) => {
  console.log(channel, args);
});
