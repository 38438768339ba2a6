"""A client of juggler: calls, publications, and events with what was missed, on one connection that mends itself.

    async with Client("ws://127.0.0.1:8080/") as client:
        print(await client.call("test.reverse", "regguj"))
        async for event in await client.subscribe("room.7"):
            print("read the state again" if event is GAP else event["args"])

It is written after docs/writing-a-client.md, and `juggler prober` finds no fault with it.
"""

import asyncio
import contextlib
import itertools
import json
import random

import websocket

GAP = object()  # among events: some may be missing before the next


class JugglerError(Exception):
    """A request failed. Code 0: its connection was lost before the answer, so nobody knows whether it was done."""

    def __init__(self, code, message, retry_after=0):
        super().__init__(message)
        self.code, self.retry_after = code, retry_after / 1000


class Subscription:
    """The events of a channel or a pattern, for one `async for`, which ends with the subscription or raises why."""

    def __init__(self, client, channel, pattern):
        self._client, self._queue = client, asyncio.Queue()
        self.topic = {"channel": channel, **({"pattern": True} if pattern else {})}
        self.key = (channel, pattern)
        self.position = None  # of the newest event, where the server keeps them
        self.link = None  # on which its events come

    def __aiter__(self):
        return self

    async def __anext__(self):
        event = await self._queue.get()
        if isinstance(event, Exception):
            raise event
        return event

    def confirmed(self, link, ack, again):
        self.link = link
        if ack.get("recovered"):
            return  # what was missed follows, and moves the position
        self.position = position(ack)
        if again:
            self._queue.put_nowait(GAP)

    def take(self, message):
        at, had = position(message), self.position
        if message["type"] == "EVNT" and at and had and at["tag"] == had["tag"] and at["at"] <= had["at"]:
            return  # the connection before has brought it, too
        self.position = at
        self._queue.put_nowait(message if message["type"] == "EVNT" else GAP)

    def end(self, error):
        self._client.subscriptions.pop(self.key, None)
        self._queue.put_nowait(error)

    async def unsubscribe(self):
        self.end(StopAsyncIteration())
        if self._client.link:
            await self._client.link.request({"type": "UNSB", **self.topic})


def position(message):
    return {"at": message["at"], "tag": message["tag"]} if "at" in message else None


class Link:
    """One connection, with the requests that wait for an answer on it."""

    def __init__(self, client, socket, hello):
        self._client, self._socket = client, socket
        self._silence = hello.get("ping", 25000) / 1000 * 2.5 or None  # None: the server promises nothing
        self._most_calls = hello.get("limits", {}).get("calls") or float("inf")
        self._ids = map(str, itertools.count(1))
        self._waiting = {}  # by id: the request, what is told of its ACK, the future of its answer
        self.left = asyncio.Event()  # it has ended, or the server is going away
        self._finishing = False

    async def request(self, message, on_ack=lambda ack: None):
        """Returns the RES of a CALL, and the ACK of what else there is."""
        calls = sum(sent["type"] == "CALL" for sent, _, _ in self._waiting.values())
        if message["type"] == "CALL" and calls >= self._most_calls:
            raise JugglerError(429, "too many calls at a time")
        ident = next(self._ids)
        answer = asyncio.get_running_loop().create_future()
        self._waiting[ident] = (message, on_ack, answer)
        self.send({**message, "id": ident})
        try:
            return await answer
        finally:
            if self._waiting.pop(ident, None) and message["type"] == "CALL":
                self.send({"type": "CANCEL", "for": ident})  # who waited for it has gone
            self._close_if_done()

    def send(self, message):
        self._socket.send(json.dumps(message, ensure_ascii=False))

    async def read(self):
        """Takes messages until the connection ends, and returns why it did."""
        try:
            while True:
                async with asyncio.timeout(self._silence):
                    text = await self._socket.receive()
                self._take(json.loads(text))
        except Exception as why:  # it was closed, or the server is silent, or talks nonsense
            self._socket.close(1002)
            return why
        finally:
            self._client.lost(self)
            self.left.set()
            for _, _, answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(JugglerError(0, "the connection was lost before the answer"))
            self._waiting.clear()

    def _take(self, message):
        match message["type"]:
            case "PING":
                self.send({"type": "PONG"})
            case "GOAWAY":
                asyncio.get_running_loop().call_later(message["after"] / 1000, self.left.set)
            case "EVNT" | "GAP" as kind if not message.get("own"):
                by = message.get("pattern")  # of an EVNT the pattern, of a GAP true
                key = (by, True) if by and kind == "EVNT" else (message["channel"], bool(by))
                if (subscription := self._client.subscriptions.get(key)) and subscription.link is self:
                    subscription.take(message)
            case "ACK" | "NACK" | "RES" as kind if message["for"] in self._waiting:
                request, on_ack, answer = self._waiting[message["for"]]
                if kind == "ACK":
                    on_ack(message)  # at once: its events may be next
                    if request["type"] == "CALL":
                        return
                del self._waiting[message["for"]]
                if answer.done():
                    return  # who waited for it has just gone
                if error := message.get("error"):
                    answer.set_exception(JugglerError(error["code"], error.get("message", ""), error.get("retry_after", 0)))
                else:
                    answer.set_result(message)

    def finish(self):
        """Closes the connection once nothing is waited for."""
        self._finishing = True
        self._close_if_done()

    def _close_if_done(self):
        if self._finishing and not self._waiting:
            self.close()

    def close(self):
        self._socket.close()


class Client:
    """To be used with `async with`. Headers are lines for the handshake, such as "Authorization: Bearer …"."""

    def __init__(self, url, headers=()):
        self._url, self._headers = url, headers
        self.subscriptions = {}
        self.link = None
        self._usable = asyncio.Event()  # there is a link, or never will be again
        self._refused = None
        self._tasks = set()

    async def __aenter__(self):
        self._start(self._run())
        return self

    async def __aexit__(self, *_):
        if self.link:
            self.link.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work):
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def call(self, uri, args=None, timeout=30):
        """Calls a URI, and returns the result. The seconds include the wait for a connection."""
        message = {"type": "CALL", "uri": uri, "args": args, "timeout": int(timeout * 1000)}
        return (await self._request(message, timeout)).get("args")

    async def publish(self, channel, args=None, timeout=30):
        """Publishes, and returns when the server has taken it."""
        await self._request({"type": "PUB", "channel": channel, "args": args}, timeout)

    async def subscribe(self, channel, pattern=False, timeout=30):
        """Subscribes to a channel or a pattern, once to each, and returns when the server has confirmed it."""
        subscription = Subscription(self, channel, pattern)
        if self.subscriptions.setdefault(subscription.key, subscription) is not subscription:
            raise ValueError(f"already subscribed to {channel}")
        try:
            async with limited(timeout):
                await self._subscribe(await self._connected(), subscription)
        except BaseException:
            self.subscriptions.pop(subscription.key, None)
            raise
        return subscription

    async def _request(self, message, timeout):
        async with limited(timeout):
            return await (await self._connected()).request(message)

    async def _connected(self):
        await self._usable.wait()
        if self._refused:
            raise self._refused
        return self.link

    async def _subscribe(self, link, subscription, again=False):
        since = {"since": subscription.position} if again and subscription.position else {}
        message = {"type": "SUB", **subscription.topic, **since}
        await link.request(message, lambda ack: subscription.confirmed(link, ack, again))

    async def _run(self):
        """Makes connections, one after the other, until the server refuses this client."""
        failures, clock = 0, asyncio.get_running_loop().time
        while not self._refused:
            began = clock()
            try:
                link = await self._open()
                reading = self._start(link.read())
                before, self.link = self.link, link
                self._usable.set()
                self._start(self._move(link, before))
                await link.left.wait()
                why = await reading if reading.done() else None
            except Exception as error:  # nothing of what networks and proxies answer may end this
                why = error
            if is_final(why):
                self._end(JugglerError(403, f"the server refuses this client: {why}"))
            elif why:  # else it goes to another connection while it has the one before
                failures = 0 if clock() - began > 10 else failures + 1
                await asyncio.sleep(random.uniform(0, min(30, 0.25 * 2 ** min(failures, 10))))

    async def _open(self):
        async with asyncio.timeout(10):
            socket = await websocket.connect(self._url, "juggler.1", self._headers)
            hello = json.loads(await socket.receive())
        if hello["type"] != "HELLO":
            raise ValueError("the first message is not HELLO")
        return Link(self, socket, hello)

    async def _move(self, link, before):
        """Subscribes again on a new connection. Then nothing comes on the one before but answers."""
        await asyncio.gather(*(self._restore(link, s) for s in self.subscriptions.values() if s.link))
        if before:
            before.finish()

    async def _restore(self, link, subscription):
        while link is self.link:
            try:
                return await self._subscribe(link, subscription, again=True)
            except JugglerError as error:
                if error.code and error.code not in (429, 503):
                    return subscription.end(error)
                await asyncio.sleep(max(1, error.retry_after))

    def lost(self, link):
        if link is self.link:
            self.link = None
            self._usable.clear()

    def _end(self, error):
        self._refused = error
        self._usable.set()
        for subscription in list(self.subscriptions.values()):
            subscription.end(error)


def is_final(why):
    """Whether what ended a connection, or an attempt, will not change by waiting."""
    if isinstance(why, websocket.Refused):
        return why.own and 400 <= why.status < 500 and why.status not in (408, 425, 429)
    return isinstance(why, websocket.Closed) and 4100 <= why.code < 4500


@contextlib.asynccontextmanager
async def limited(seconds):
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise JugglerError(408, "no answer in time") from None
