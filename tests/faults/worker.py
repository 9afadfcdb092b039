"""A durable worker as a process of its own: `python worker.py ADDRESS PATTERN NAME [SECONDS]`. It says what it does.

With SECONDS, it waits for a line on standard input, and works so long. The worker ends with standard input.
"""

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


async def run(address: str, pattern: str, name: str, seconds: str = "") -> None:
    """Works until standard input ends."""
    may_go_on = asyncio.Event()
    if not seconds:
        may_go_on.set()
    loop = asyncio.get_running_loop()

    async def work(message: DurableMessage) -> None:
        say(began=message.payload["n"], attempt=message.attempt)
        await may_go_on.wait()
        say(works_on=message.payload["n"], attempt=message.attempt)
        await asyncio.sleep(float(seconds or 0))
        say(done=message.payload["n"], attempt=message.attempt, settled=message.settled)

    async with GrpcMessageBus(address) as bus:
        await bus.subscribe(pattern, work, durable=name, settings=DurableSettings(ack_wait=1.0))
        say(ready=True)
        await loop.run_in_executor(None, lambda: [loop.call_soon_threadsafe(may_go_on.set) for _ in sys.stdin])


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    asyncio.run(run(*sys.argv[1:]))
