"""Asking an orchestrator as another user, from a process of its own. Only root can become one."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from typing import Any, Final

from trunkline.cli.agents.orchestrator_socket import SocketOrchestrator
from trunkline.errors import TrunklineError

NOBODY: Final = 65534
SECONDS: Final = 30.0


def as_other_user(uid: int, path: str) -> Any:
    """What came of asking for the status: "served", or the error."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_ask, args=(uid, path, results))
    process.start()
    try:
        return results.get(timeout=SECONDS)
    finally:
        process.join(SECONDS)


def _ask(uid: int, path: str, results: Any) -> None:
    async def ask() -> None:
        async with SocketOrchestrator(path) as asked:
            await asked.status()

    async def become() -> None:
        # What is imported late is imported before: this user may not read it.
        try:
            async with SocketOrchestrator(path + "x") as asked:
                await asked.status()
        except TrunklineError:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)

    asyncio.run(become())
    try:
        asyncio.run(ask())
        results.put("served")
    except TrunklineError as error:
        results.put(error)
