"""StateManager: what every store of agent states, workflow states and task results promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from types import TracebackType
from typing import Self

from trunkline.custom import unsupported
from trunkline.errors import StateError
from trunkline.models import AgentState, Record, TaskResult, WorkflowState
from trunkline.records import Kind


class ChangeType(Enum):
    """What a watcher is told."""

    SAVED = "saved"
    """The record is as given: there from the beginning, or saved since."""
    DELETED = "deleted"
    LEFT = "left"
    """It was saved and no longer matches the watch's filter."""
    SYNCED = "synced"
    """All that was there has been told; from here on, changes."""


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a watch. `record` is set for SAVED; `kind` and `id` for all but SYNCED."""

    type: ChangeType
    revision: int
    kind: Kind | None = None
    id: str | None = None
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class StateStatistics:
    """The figures of a store: counts since it started, and what it holds now.

    Attributes:
        started_at: when it started.
        revision, oldest_revision: the store's revision, and the lowest one that a watch can resume after.
        records: how many there are now, by kind.
        saves, gets, lists, deletes: calls.
        commits: how many commits carried the writes.
        watchers, connections: now.
        engine: what records are kept in: "memory" or "sqlite".
        version: of the program.
    """

    started_at: datetime
    revision: int
    oldest_revision: int
    records: Mapping[str, int]
    saves: int
    gets: int
    lists: int
    deletes: int
    commits: int
    watchers: int
    connections: int
    engine: str
    version: str


@dataclass(frozen=True, slots=True)
class Save:
    """A batch operation: save a record."""

    record: Record
    expected_revision: int | None = None


@dataclass(frozen=True, slots=True)
class Get:
    """A batch operation: read a record."""

    kind: Kind
    id: str


@dataclass(frozen=True, slots=True)
class Delete:
    """A batch operation: delete a record."""

    kind: Kind
    id: str
    expected_revision: int | None = None


Operation = Save | Get | Delete
Outcome = int | bool | Record | StateError | None
"""Of a save its revision, of a get the record or None, of a delete whether there was one; or that operation's error."""


class StateManager(ABC):
    """Keeps agent states, workflow states and task results. Values are copied at the border.

    Made without a running event loop; `connect()` binds it to the loop it is called in. Usable as `async with`.
    Equal ids in different entities do not meet. Calls while not connected raise `StateNotConnectedError`.

    `expected_revision` of a save: None, the last write wins; 0, the record must not exist; else it must have this
    revision (`record.revision` of one that was read). A mismatch raises `RevisionMismatchError`, nothing is written.

    A store of one's own needs the abstract methods, and none of their keyword options; what it does without raises
    NotImplementedError.
    """

    @abstractmethod
    async def connect(self) -> None:
        """Opens the store; idempotent."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Closes it; idempotent."""

    @property
    def is_connected(self) -> bool:
        """Whether the store can be reached now."""
        raise unsupported(self, "is_connected")

    @abstractmethod
    async def save_agent_state(self, state: AgentState, *, expected_revision: int | None = None) -> int:
        """Saves one whole; returns its new revision."""

    @abstractmethod
    async def get_agent_state(self, agent_id: str) -> AgentState | None:
        """The record, or None."""

    @abstractmethod
    async def list_agent_states(
        self, *, status: str | None = None, type: str | None = None, page_size: int | None = None
    ) -> list[AgentState]:
        """All that match, in order of their ids; fetched in pages of `page_size`."""

    @abstractmethod
    async def delete_agent_state(self, agent_id: str, *, expected_revision: int | None = None) -> bool:
        """Whether there was one."""

    @abstractmethod
    async def save_workflow_state(self, state: WorkflowState, *, expected_revision: int | None = None) -> int:
        """Saves one whole; returns its new revision."""

    @abstractmethod
    async def get_workflow_state(self, workflow_id: str) -> WorkflowState | None:
        """The record, or None."""

    async def list_workflow_states(
        self, *, status: str | None = None, phase: str | None = None, page_size: int | None = None
    ) -> list[WorkflowState]:
        """All that match, in order of their ids."""
        raise unsupported(self, "list_workflow_states()")

    async def delete_workflow_state(self, workflow_id: str, *, expected_revision: int | None = None) -> bool:
        """Whether there was one."""
        raise unsupported(self, "delete_workflow_state()")

    @abstractmethod
    async def save_task_result(self, result: TaskResult, *, expected_revision: int | None = None) -> int:
        """Saves one whole; returns its new revision."""

    @abstractmethod
    async def get_task_result(self, task_id: str) -> TaskResult | None:
        """The record, or None."""

    async def list_task_results(
        self, *, status: str | None = None, agent_id: str | None = None, page_size: int | None = None
    ) -> list[TaskResult]:
        """All that match, in order of their ids."""
        raise unsupported(self, "list_task_results()")

    async def delete_task_result(self, task_id: str, *, expected_revision: int | None = None) -> bool:
        """Whether there was one."""
        raise unsupported(self, "delete_task_result()")

    async def batch(self, operations: Sequence[Operation], *, atomic: bool = False) -> list[Outcome]:
        """Does many operations in order in one call; each has its own outcome. With `atomic` all writes happen or none,
        and the first failing operation's error is raised with its index in details["operation"].

        A store of one's own does them one by one, and cannot do `atomic`, unless it has a better way.
        """
        if atomic:
            raise unsupported(self, "atomic batch()")
        return [await self._do(operation) for operation in operations]

    async def _do(self, operation: Operation) -> Outcome:
        """One operation by the verb of its kind: `save_agent_state`, `get_task_result` and so on."""
        name, kind, subject = _verb(operation)
        revision = getattr(operation, "expected_revision", None)
        options = {} if revision is None else {"expected_revision": revision}
        try:
            outcome: Outcome = await getattr(self, f"{name}_{kind}")(subject, **options)
        except StateError as error:
            return error
        return outcome

    def watch(
        self,
        *kinds: Kind,
        id: str | None = None,
        status: str | None = None,
        type: str | None = None,
        phase: str | None = None,
        agent_id: str | None = None,
        after_revision: int | None = None,
    ) -> AsyncIterator[Change]:
        """The records that match, then SYNCED, then each change in order. With `after_revision`, the changes after it.

        A lost connection is restored and the watch goes on behind the last revision it gave.

        Raises:
            CompactedError: the changes after that revision are no longer kept; details oldest.
        """
        raise unsupported(self, "watch()")

    async def statistics(self) -> StateStatistics:
        """Returns what the store counted since it started, and what it holds now."""
        raise unsupported(self, "statistics()")

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.disconnect()


def _verb(operation: Operation) -> tuple[str, Kind, Record | str]:
    """What an operation does, to which kind of record, and to which: a record to save, or an id."""
    match operation:
        case Save(AgentState() as record):
            return "save", "agent_state", record
        case Save(WorkflowState() as record):
            return "save", "workflow_state", record
        case Save(record):
            return "save", "task_result", record
        case Get(kind, id):
            return "get", kind, id
        case Delete(kind, id):
            return "delete", kind, id
