"""What `juggler prober` drives the client with: `juggler prober python3 probe.py`."""

import asyncio
import json
import sys

from juggler import GAP, Client, JugglerError


def tell(n, **what):
    print(json.dumps({"n": n, **what}), flush=True)


async def do(client, command, subscriptions):
    n = command["n"]
    try:
        match command["do"]:
            case "call":
                tell(n, result=await client.call(command["uri"], command.get("args"), command.get("timeout", 30_000) / 1000))
            case "publish":
                tell(n, result=await client.publish(command["channel"], command["args"]))
            case "subscribe":
                subscription = subscriptions[n] = await client.subscribe(command["channel"], command.get("pattern", False))
                tell(n, result=None)
                async for event in subscription:
                    if event is GAP:
                        tell(n, gap=True)
                    else:
                        tell(n, channel=event["channel"], event=event.get("args"))
            case "unsubscribe":
                await subscriptions[command["of"]].unsubscribe()
                tell(n, result=None)
    except JugglerError as error:
        tell(n, error={"code": error.code, "message": str(error)})


async def main(url):
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    subscriptions, tasks = {}, set()
    async with Client(url) as client:
        async for line in commands:
            tasks.add(asyncio.create_task(do(client, json.loads(line), subscriptions)))


asyncio.run(main(sys.argv[1]))
