// The server of socket.io: as server/main.go, in Node, which is its home.
import { createServer } from 'node:http';
import { Server } from 'socket.io';

const event = 'x'.repeat(126);
const http = createServer();
const io = new Server(http, { transports: ['websocket'] });
io.on('connection', (socket) => {
  socket.join('bench');
  socket.on('echo', (args, reply) => reply(args));
  socket.on('publish', (n, reply) => {
    for (let i = 0; i < n; i++) io.to('bench').emit('event', event);
    reply(n);
  });
});
http.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${http.address().port}`));
process.stdin.resume().on('end', () => process.exit());
