"""InMemoryStateManager: the state store within one process, for tests and small programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from trunkline.errors import StateError, StateNotConnectedError
from trunkline.models import Record
from trunkline.records import Kind, check_batch_size
from trunkline.state.filter import Filter, WatchFilter, check_page_size, check_revision
from trunkline.state.memory.records import MemoryRecords
from trunkline.state.record_manager import RecordManager, not_connected
from trunkline.state.state_manager import Change, ChangeType, Delete, Operation, Outcome, Save


class InMemoryStateManager(RecordManager):
    """Keeps records in this object; they are gone after `disconnect`. Made for one event loop.

    Records are kept encoded, as a service keeps them: what is refused there is refused here, and no caller shares an
    object with another.
    """

    def __init__(self) -> None:
        self._records: MemoryRecords | None = None
        self._written = asyncio.Event()

    async def connect(self) -> None:
        if self._records is None:
            self._records = MemoryRecords()

    async def disconnect(self) -> None:
        self._records = None
        self._wake()

    @property
    def is_connected(self) -> bool:
        return self._records is not None

    async def batch(self, operations: Sequence[Operation], *, atomic: bool = False) -> list[Outcome]:
        records = self._connected()
        check_batch_size(len(operations))
        try:
            if atomic:
                return records.do_all(operations)
            return [_outcome(records, operation) for operation in operations]
        finally:
            self._wake()

    async def watch(
        self,
        *kinds: Kind,
        id: str | None = None,
        status: str | None = None,
        type: str | None = None,
        phase: str | None = None,
        agent_id: str | None = None,
        after_revision: int | None = None,
    ) -> AsyncIterator[Change]:
        records = self._connected()
        interest = WatchFilter(kinds, id, Filter(status, type, phase, agent_id))
        interest.check()
        check_revision("after_revision", after_revision, 0)
        revision = records.revision
        if after_revision is None:
            changes = records.snapshot(interest)
        else:
            changes, revision = records.changes(interest, after_revision)
        changes.append(Change(ChangeType.SYNCED, revision))
        while True:
            for change in changes:
                yield change
            while records.revision == revision and self._records is records:
                await self._written.wait()
            if self._records is not records:
                raise StateNotConnectedError("the state manager was disconnected")
            changes, revision = records.changes(interest, revision)

    async def _save(self, record: Record, expected_revision: int | None) -> int:
        revision = self._connected().do(Save(record, expected_revision))
        self._wake()
        assert isinstance(revision, int)
        return revision

    async def _get(self, kind: Kind, id: str) -> Record | None:
        return self._connected().get(kind, id)

    async def _list(self, kind: Kind, filter: Filter, page_size: int | None) -> list[Record]:
        records = self._connected()
        check_page_size(page_size)
        return records.select(kind, filter)

    async def _delete(self, kind: Kind, id: str, expected_revision: int | None) -> bool:
        deleted = self._connected().do(Delete(kind, id, expected_revision))
        self._wake()
        return deleted is True

    def _connected(self) -> MemoryRecords:
        if self._records is None:
            raise not_connected()
        return self._records

    def _wake(self) -> None:
        """Wakes every watch that waits; each finds out by itself what happened."""
        written, self._written = self._written, asyncio.Event()
        written.set()


def _outcome(records: MemoryRecords, operation: Operation) -> Outcome:
    try:
        return records.do(operation)
    except StateError as error:
        return error
