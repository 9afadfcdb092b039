"""A durable worker as a process of its own: `python worker.py ADDRESS PATTERN NAME SECONDS`. It says what it does."""

from __future__ import annotations

import asyncio
import json
import logging
import sys

from trunkline import DurableMessage, DurableSettings, GrpcMessageBus


def say(**words: object) -> None:
    """One line to whoever started this."""
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def run(address: str, pattern: str, name: str, seconds: str) -> None:
    """Works so many seconds on each message."""

    async def work(message: DurableMessage) -> None:
        say(began=message.payload["n"], attempt=message.attempt)
        await asyncio.sleep(float(seconds))
        say(done=message.payload["n"], attempt=message.attempt, settled=message.settled)

    async with GrpcMessageBus(address) as bus:
        await bus.subscribe(pattern, work, durable=name, settings=DurableSettings(ack_wait=1.0))
        say(ready=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    asyncio.run(run(*sys.argv[1:]))
