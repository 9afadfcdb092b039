"""MemoryDelivery: durable delivery of a bus in memory."""

from __future__ import annotations

from abc import abstractmethod
from itertools import islice

from trunkline.bus.checks import check_durable, check_start
from trunkline.bus.dead_letters import DeadLetterFilter, Redriven, WhichDeadLetters
from trunkline.bus.durable import DurableSettings, Start
from trunkline.bus.durable_delivery import DeadLetters, DurableDelivery
from trunkline.bus.memory.journal import MemoryJournal


class MemoryDelivery(DurableDelivery):
    """See `DurableDelivery`; what is kept is kept until `disconnect()`."""

    @abstractmethod
    def _connected(self) -> MemoryJournal:
        """What is kept. Raises BusNotConnectedError."""

    async def create_durable(
        self, name: str, pattern: str, *, start: Start = "new", settings: DurableSettings | None = None
    ) -> bool:
        journal = self._connected()
        check_durable(name, pattern, start, settings)
        return journal.create(name, pattern, start, settings)

    async def delete_durable(self, name: str) -> None:
        self._connected().delete(name)

    async def seek_durable(self, name: str, start: Start) -> None:
        journal = self._connected()
        check_start(start)
        journal.seek(name, start)

    async def _dead_letters(self, wanted: DeadLetterFilter, limit: int | None) -> DeadLetters:
        for letter in islice(self._connected().dead_letters.matching(wanted), limit):
            yield letter

    async def redrive(
        self, which: WhichDeadLetters, *, dry_run: bool = False, force: bool = False, limit: int | None = None
    ) -> Redriven:
        return self._connected().dead_letters.redrive(which, dry_run, force, limit)

    async def purge(self, which: WhichDeadLetters, *, dry_run: bool = False) -> int:
        return self._connected().dead_letters.purge(which, dry_run)
