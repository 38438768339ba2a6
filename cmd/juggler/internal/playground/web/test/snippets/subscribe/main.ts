import { Client, members } from '@juggler-go/client';

const client = new Client("ws://127.0.0.1:8080/?user=o'hara");

client.subscribe("room.7", { last: 5 }, ({ channel, args }) => {
  console.log(channel, args);
});
const there = members(client, "room.7", () => {
  console.log(there.members ?? there.count);
});
