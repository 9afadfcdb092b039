"""What every agent of a torture run does: it works until its standard input ends, and finishes what it began."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from threading import Thread
from typing import Any, Final

from trunkline import BusDisconnectedError, GrpcMessageBus, GrpcStateManager, StateDisconnectedError

FINISH_SECONDS: Final = 60.0
"""After its standard input ended, an agent has so long to finish; also where whoever started it was killed."""
PAUSE_SECONDS: Final = 0.05
"""Before something is tried again."""


def told_to_finish() -> asyncio.Event:
    """Set when the standard input ends, which it does too when whoever started this is killed."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 4096):  # `sys.stdin` has a lock, on which an interrupted program would abort
            pass
        loop.call_soon_threadsafe(told.set)

    Thread(target=wait, daemon=True).start()
    return told


async def connect(client: GrpcMessageBus | GrpcStateManager) -> None:
    """Connects as soon as the service is there."""
    while True:
        try:
            await client.connect()
        except (BusDisconnectedError, StateDisconnectedError):
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            return


async def within_time(told: asyncio.Event, *work: Coroutine[Any, Any, None]) -> None:
    """Does work that ends by itself some time after `told` is set, side by side. Raises what it raised."""
    async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
        waiting = group.create_task(told.wait())
        waiting.add_done_callback(lambda _: limit.reschedule(asyncio.get_running_loop().time() + FINISH_SECONDS))
        await asyncio.wait(tasks)
        told.set()
