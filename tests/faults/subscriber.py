"""A subscriber as a process of its own, which says what it got: `python subscriber.py ADDRESS CHANNEL`."""

from __future__ import annotations

import asyncio
import json
import sys

from trunkline import AgentMessage, GrpcMessageBus


def say(text: str) -> None:
    """One line to whoever started this."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def run(address: str, channel: str) -> None:
    """Counts messages, sees whether they come in order, and adds up what it is told that it lost."""
    count = lost = 0
    last = -1
    ordered = True

    def told(dropped: int) -> None:
        nonlocal lost
        lost += dropped

    async def callback(message: AgentMessage) -> None:
        nonlocal count, last, ordered
        n = message.payload["n"]
        if n == "report":
            say(json.dumps({"count": count, "lost": lost, "ordered": ordered, "last": last}))
            return
        assert isinstance(n, int)
        ordered = ordered and n > last
        last = n
        count += 1

    async with GrpcMessageBus(address) as bus:
        await bus.subscribe(channel, callback, on_lagged=told)
        say("ready")
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
