"""A worker on tasks as a process of its own: `python task_worker.py ADDRESS PATTERN DURABLE`. It ends with standard
input."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator

from trunkline import Backoff, BusDisconnectedError, DurableSettings, GrpcMessageBus, Request


async def work(request: Request) -> AsyncGenerator[str, None]:
    """Says how far it is, in parts; every tenth task never succeeds."""
    n = int(str(request.payload["n"]))
    for step in range(1, 4):
        request.progress(step / 4)
        yield f"part {step}"
        await asyncio.sleep(0.005)
    if n % 10 == 0:
        raise ValueError(f"task {n} fails")
    request.set_result({"n": n, "attempt": request.attempt})


async def run(address: str, pattern: str, durable: str) -> None:
    """Works until standard input ends."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    settings = DurableSettings(ack_wait=1.0, max_deliveries=12, backoff=Backoff(0.0, 1.0, 0.0))
    async with GrpcMessageBus(address) as bus:
        while True:
            try:
                await bus.respond(pattern, work, durable=durable, settings=settings, concurrency=4)
                break
            except BusDisconnectedError:  # it was killed just now, and comes back
                await asyncio.sleep(0.05)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        loop.run_in_executor(None, lambda: loop.call_soon_threadsafe(over.set) if sys.stdin.read() == "" else None)
        await over.wait()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.CRITICAL)
    asyncio.run(run(*sys.argv[1:]))
