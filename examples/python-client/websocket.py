"""The part of WebSocket (RFC 6455) that a client of juggler needs, on asyncio's streams."""

import asyncio
import base64
import hashlib
import itertools
import os
import ssl
import struct
from urllib.parse import urlsplit

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MAX_MESSAGE = 4 << 20  # bytes


class Closed(Exception):
    """The connection has ended: with a code, or 1006 if it was lost."""

    def __init__(self, code, reason=""):
        super().__init__(f"closed with {code} {reason}".rstrip())
        self.code = code


class Refused(Exception):
    """The handshake was not answered with a WebSocket; own: by juggler itself, and not by a proxy."""

    def __init__(self, status, own):
        super().__init__(f"HTTP status {status}")
        self.status, self.own = status, own


async def connect(url, protocol, headers=()):
    """Opens a connection. protocol is the one that is offered, and has to be taken."""
    parts = urlsplit(url)
    tls = ssl.create_default_context() if parts.scheme == "wss" else None
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or (443 if tls else 80), ssl=tls)
    try:
        key = base64.b64encode(os.urandom(16)).decode()
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"GET {path} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}", "Upgrade: websocket", "Connection: Upgrade",
                 f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Protocol: {protocol}", *headers]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        status, *answer = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        got = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in answer)}
        code = int(status.split()[1])
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        if code != 101 or got.get("sec-websocket-accept") != accept or got.get("sec-websocket-protocol") != protocol:
            raise Refused(code, "juggler-refusal" in got)
    except BaseException:
        writer.close()
        raise
    return WebSocket(reader, writer)


class WebSocket:
    def __init__(self, reader, writer):
        self._reader, self._writer = reader, writer

    async def receive(self):
        """Returns the next message, text; raises Closed."""
        message = b""
        while True:
            try:
                final, opcode, payload = await self._frame()
            except (OSError, asyncio.IncompleteReadError):
                raise Closed(1006) from None
            if opcode == PING:
                self._send(PONG, payload)
            elif opcode == CLOSE:
                self._send(CLOSE, payload[:2])
                self._writer.close()
                code = int.from_bytes(payload[:2]) or 1005
                raise Closed(code, payload[2:].decode(errors="replace"))
            elif opcode != PONG:
                message += payload
                if opcode == BINARY or len(message) > MAX_MESSAGE:
                    self.close(1003 if opcode == BINARY else 1009)
                    raise Closed(1006)
                if final:
                    return message.decode()

    async def _frame(self):
        head, length = await self._reader.readexactly(2)
        if length == 126:
            [length] = struct.unpack("!H", await self._reader.readexactly(2))
        elif length == 127:
            [length] = struct.unpack("!Q", await self._reader.readexactly(8))
        if length > MAX_MESSAGE:
            self.close(1009)
            raise Closed(1006)
        return head & 0x80, head & 0x0F, await self._reader.readexactly(length)

    def send(self, text):
        """Sends a message; it is written when the network takes it."""
        self._send(TEXT, text.encode())

    def _send(self, opcode, payload):
        size = len(payload)
        head = bytes([0x80 | opcode])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 1 << 16:
            head += struct.pack("!BH", 0x80 | 126, size)
        else:
            head += struct.pack("!BQ", 0x80 | 127, size)
        mask = os.urandom(4)
        self._writer.write(head + mask + bytes(a ^ b for a, b in zip(payload, itertools.cycle(mask))))

    def close(self, code=1000):
        """Ends the connection, with a close frame if it has not ended yet."""
        if not self._writer.is_closing():
            self._send(CLOSE, struct.pack("!H", code))
            self._writer.close()
