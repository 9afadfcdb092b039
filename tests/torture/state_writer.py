"""A state writer of a torture run: `python -m tests.torture.state_writer NAME ADDRESS LEDGER [COUNT]`.

Half of its saves go to records that are saved again and again, half to new ones, which nothing that comes later can
hide the loss of.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.torture.agent import PAUSE_SECONDS, connect, told_to_finish, within_time
from tests.torture.ledger import Ledger, Saved, read
from trunkline import AgentState, GrpcStateManager, OverloadedError, StateDisconnectedError, StorageUnavailableError

REWRITTEN: Final = 5
"""Records that are saved again and again."""
GAP_SECONDS: Final = 0.1


class StateWriter:
    """Saves one record after the other, and writes down what was answered."""

    def __init__(self, name: str, state: GrpcStateManager, path: Path) -> None:
        self._name = name
        self._state = state
        self._last = max((fact.value for fact in read(path) if isinstance(fact, Saved)), default=0)
        self._ledger = Ledger(path)

    async def run(self, count: int, told: asyncio.Event) -> None:
        """Saves until it is told to finish, or so many."""
        for value in self._to_come(count):
            if told.is_set():
                return
            id = f"{self._name}-{value}" if value % 2 else f"{self._name}-rewritten-{value // 2 % REWRITTEN}"
            await self._save(id, value)
            await asyncio.sleep(random.uniform(0, GAP_SECONDS))

    def _to_come(self, count: int) -> Iterator[int]:
        first = self._last + 1
        return iter(range(first, count + 1)) if count else itertools.count(first)

    async def _save(self, id: str, value: int) -> None:
        record = AgentState(agent_id=id, agent_type="coding", metadata={"value": value, "text": "x" * (value % 500)})
        while True:
            try:
                revision = await self._state.save_agent_state(record)
            except (StateDisconnectedError, OverloadedError, StorageUnavailableError):
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self._ledger.write(Saved(id, revision, value))
                return


async def main(name: str, address: str, path: str, count: str = "0") -> None:
    """Runs one life of a writer."""
    told = told_to_finish()
    state = GrpcStateManager(address)
    await connect(state)
    writer = StateWriter(name, state, Path(path))
    await within_time(told, writer.run(int(count), told))
    await state.disconnect()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
