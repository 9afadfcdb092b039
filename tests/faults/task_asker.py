"""Who asks for tasks, as a process of its own: `python task_asker.py ADDRESS CHANNEL DURABLE TASKS LEDGER`.

Its ledger has a line for each step: the id of a task before it is submitted, and its outcome. One that is killed and
started again goes on from there. It ends when every task has an outcome.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

from trunkline import AgentMessage, BusDisconnectedError, GrpcMessageBus, RequestFailedError, SubmittedTask

AT_ONCE = 32


class AskersLedger:
    """What is known of each task, on disk. A line is one write, so that a kill leaves it whole or not begun."""

    def __init__(self, path: Path) -> None:
        self.ids: dict[int, str] = {}
        self.outcomes: dict[int, list[tuple[str, Any]]] = {}
        """Of each task; a second one was heard by an asker that was killed before it could tell."""
        self._path = path
        for line in path.read_text().splitlines() if path.exists() else ():
            self._take(json.loads(line))

    def write(self, **step: Any) -> None:
        """Adds a line."""
        with self._path.open("ab", buffering=0) as file:
            file.write(f"{json.dumps(step)}\n".encode())
        self._take(step)

    def _take(self, step: dict[str, Any]) -> None:
        if "id" in step:
            self.ids[step["n"]] = step["id"]
        else:
            self.outcomes.setdefault(step["n"], []).append((step["how"], step["what"]))


async def ask(bus: GrpcMessageBus, ledger: AskersLedger, n: int, channel: str, durable: str) -> None:
    """Submits a task, where that was not done or is not known, and writes down how it ended."""
    if n not in ledger.ids:
        ledger.write(n=n, id=str(uuid4()))
    message = AgentMessage(message_id=ledger.ids[n], message_type="job", sender_id="tests", payload={"n": n})
    task = await submit(bus, message, channel, durable)
    how, what = await outcome(task)
    ledger.write(n=n, how=how, what=what)


async def submit(bus: GrpcMessageBus, message: AgentMessage, channel: str, durable: str) -> SubmittedTask:
    """Submits it until the bus says that it is stored."""
    while True:
        try:
            return await bus.submit(channel, message, durable=durable)
        except BusDisconnectedError:  # it was killed just now, and comes back
            await asyncio.sleep(0.05)


async def outcome(task: SubmittedTask) -> tuple[str, Any]:
    """Returns how a task ended, as `result` tells it."""
    try:
        result = await task.result()
    except RequestFailedError as error:
        return "failed", error.details["text"]
    assert result is not None
    return "done", result.payload["n"]


async def connected(address: str) -> GrpcMessageBus:
    """Returns a client of a bus, as soon as that is there."""
    while True:
        bus = GrpcMessageBus(address)
        try:
            await bus.connect()
            return bus
        except BusDisconnectedError:
            await asyncio.sleep(0.05)


async def run(address: str, channel: str, durable: str, tasks: str, path: str) -> None:
    """Asks until every task has an outcome, AT_ONCE at a time."""
    ledger = AskersLedger(Path(path))
    missing = iter([n for n in range(int(tasks)) if n not in ledger.outcomes])
    async with await connected(address) as bus, asyncio.TaskGroup() as asking:

        async def ask_on() -> None:
            for n in missing:
                await ask(bus, ledger, n, channel, durable)

        for _ in range(AT_ONCE):
            asking.create_task(ask_on())


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
