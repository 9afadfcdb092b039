"""Clients that read and write some records through several replicas all the time, and take note of what they hear."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

from tests.linearizability.history import Call, History, Verb
from tests.patience import PATIENCE
from trunkline import (
    AgentState,
    GrpcStateManager,
    OverloadedError,
    RevisionMismatchError,
    StateError,
    StateNotConnectedError,
    StorageUnavailableError,
)

CALLS_OF_AN_EPOCH: Final = 300
KEYS: Final = 3
"""Records that are used at a time: few, so that clients meet; others in the next epoch, so that histories are short."""

TIMEOUT: Final = 3.0
"""Seconds that a client waits for an answer, also for one that never comes."""

PAUSE: Final = 0.004
"""Seconds between two calls of one client, at the most."""

_NOT_DONE: Final = (StorageUnavailableError, OverloadedError, StateNotConnectedError)
"""What says that nothing was written."""


class Workload:
    """Runs as long as its `async with` block.

    Args:
        addresses: of the replicas.
        clients: how many; they share the replicas evenly.
    """

    def __init__(self, addresses: Sequence[str], clients: int = 8) -> None:
        self.history = History()
        self.lost = 0
        """Calls whose outcome is not known, gets too."""
        self.errors: dict[str, int] = {}
        """How many calls ended with which error."""
        self._managers = [
            GrpcStateManager(addresses[n % len(addresses)], timeout=TIMEOUT, connect_timeout=PATIENCE)
            for n in range(clients)
        ]
        self._name = uuid4().hex[:8]
        self._tasks: list[asyncio.Task[None]] = []
        self._moved = asyncio.Event()
        self._stopping = False

    @property
    def ended(self) -> int:
        """Calls that were answered."""
        return sum(call.is_known for call in self.history.calls)

    async def __aenter__(self) -> Self:
        for manager in self._managers:
            await manager.connect()
        for n, manager in enumerate(self._managers):
            task = asyncio.create_task(self._work(n, manager))
            task.add_done_callback(lambda _: self._moved.set())
            self._tasks.append(task)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping = True
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        for manager in self._managers:
            await manager.disconnect()
        if error is None:
            for outcome in outcomes:
                if outcome is not None:
                    raise outcome

    async def answered(self, calls: int) -> None:
        """Waits until so many more calls were answered."""
        await self._until(self.ended + calls, lambda: self.ended)

    async def given_up(self, calls: int) -> None:
        """Waits until of so many more calls nobody knows the outcome."""
        await self._until(self.lost + calls, lambda: self.lost)

    async def _until(self, wanted: int, count: Callable[[], int]) -> None:
        async with asyncio.timeout(PATIENCE):
            while count() < wanted and not any(task.done() for task in self._tasks):
                self._moved.clear()
                await self._moved.wait()

    async def _work(self, n: int, manager: GrpcStateManager) -> None:
        random = Random(n)
        known: dict[str, int] = {}
        number = 0
        while not self._stopping:
            number += 1
            epoch = len(self.history.calls) // CALLS_OF_AN_EPOCH
            key = f"{self._name}-{epoch}-{random.randrange(KEYS)}"
            expected = known.get(key, 0) if random.random() < 0.6 else None
            verb = random.choices([Verb.GET, Verb.SAVE, Verb.DELETE], [45, 45, 10])[0]
            value = f"{n}-{number}" if verb is Verb.SAVE else None
            if verb is Verb.GET or (verb is Verb.DELETE and not expected):
                expected = None
            call = self.history.begin(verb, key, value, expected)
            try:
                known[key] = await self._do(manager, call)
            except RevisionMismatchError as error:
                self.history.end(call, refused=error.details["actual"])
            except StateError as error:
                self.errors[error.error_code] = self.errors.get(error.error_code, 0) + 1
                if not isinstance(error, _NOT_DONE):
                    self.lost += 1
                    self.history.lose(call)
                await asyncio.sleep(0.02)
            self._moved.set()
            await asyncio.sleep(random.uniform(0, PAUSE))

    async def _do(self, manager: GrpcStateManager, call: Call) -> int:
        """Makes a call and takes note of its answer; returns the revision that the record has now; 0: no record."""
        if call.verb is Verb.SAVE:
            record = AgentState(agent_id=call.key, agent_type="coding", current_task_id=call.value)
            revision = await manager.save_agent_state(record, expected_revision=call.expected)
            self.history.end(call, revision=revision)
            return revision
        if call.verb is Verb.DELETE:
            found = await manager.delete_agent_state(call.key, expected_revision=call.expected)
            self.history.end(call, found=found)
            return 0
        got = await manager.get_agent_state(call.key)
        self.history.end(call, value=got and got.current_task_id, revision=got.revision if got else 0)
        return int(got.revision or 0) if got else 0
