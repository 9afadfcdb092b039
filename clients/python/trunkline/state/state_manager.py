"""StateManager: the contract of every store of agent states, workflow states and task results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from types import TracebackType
from typing import Any, Final, Self

from trunkline.custom import unsupported
from trunkline.errors import StateError
from trunkline.limits import LEASE_TTL
from trunkline.models import AgentState, AgentStatus, AgentType, Record, TaskResult, WorkflowState
from trunkline.records import Kind
from trunkline.state.leases import Held, Lease, LeaseInfo
from trunkline.state.outbox import OutboxStatistics, Publish
from trunkline.state.presence import AgentPresence, Announcement


class ChangeType(Enum):
    """The type of a watch's step."""

    SAVED = "saved"
    """The record was there at the start of the watch, or was saved since."""
    DELETED = "deleted"
    LEFT = "left"
    """The record was saved and no longer matches the watch's filter."""
    SYNCED = "synced"
    """The end of the records that were there; changes follow."""


class EndReason(Enum):
    """Why a record is no more."""

    DELETED = "deleted"
    """By a delete; of a lease: it was released."""
    EXPIRED = "expired"
    """Its TTL passed."""
    LEASE_ENDED = "lease_ended"
    """The lease that it was bound to ended."""


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a watch. `record` is set for SAVED; `kind` and `id` for all but SYNCED. `written_by`, `written_at`:
    whose write it was, as of a record; a TTL that passed is nobody's."""

    type: ChangeType
    revision: int
    kind: Kind | None = None
    id: str | None = None
    record: Record | LeaseInfo | AgentPresence | None = None
    reason: EndReason | None = None
    """Why it was DELETED. None also where that is not known: it ended while a watch that began anew was away."""
    written_by: str | None = field(default=None, compare=False)
    written_at: datetime | None = field(default=None, compare=False)


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
        engine: what records are kept in: "memory", "sqlite" or "redis".
        version: of the program.
        outbox: the messages of writes; None: the service was given no bus.
        leases_acquired, lease_renewals: calls that succeeded.
        expired, ended_with_lease: records, leases too, that ended by themselves.
        lease_waiters: callers that wait for a lease now.
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
    outbox: OutboxStatistics | None = None
    leases_acquired: int = 0
    lease_renewals: int = 0
    expired: int = 0
    ended_with_lease: int = 0
    lease_waiters: int = 0


@dataclass(frozen=True, slots=True)
class Save:
    """The batch operation that saves a record; see `StateManager`."""

    record: Record | AgentPresence
    expected_revision: int | None = None
    publish: Publish = ()
    lease: Held | None = None
    ttl: float | None = None
    fence: Held | None = None


@dataclass(frozen=True, slots=True)
class Get:
    """The batch operation that reads a record."""

    kind: Kind
    id: str


@dataclass(frozen=True, slots=True)
class Delete:
    """The batch operation that deletes a record."""

    kind: Kind
    id: str
    expected_revision: int | None = None
    publish: Publish = ()
    fence: Held | None = None


Operation = Save | Get | Delete
Outcome = int | bool | Record | LeaseInfo | AgentPresence | StateError | None
"""The outcome of a Save: its revision; of a Get: the record or None; of a Delete: whether there was a record. Or the
error that the operation failed with."""


class StateManager(ABC):
    """Stores agent states, workflow states and task results. Values are copied at the border.

    Can be made without a running event loop; `connect()` binds it to the loop of its caller. Usable as `async with`.
    Each kind has its own ids. Calls while not connected raise `StateNotConnectedError`.

    `expected_revision` of a save: None, the last write wins; 0, the record must not exist; else the record must have
    this revision (`record.revision` of a record that was read). A mismatch raises `RevisionMismatchError`; nothing is
    written.

    `lease` of a save: the record ends when this lease does. `ttl`: it ends so many seconds after its last save or
    `touch`. Each save says both anew: without them the record stays. Its end comes in watches, with the reason. `fence`
    of a save or a delete: refused with `LeaseLostError` unless this lease is held with its number; so nothing is
    written by a program that stood still while another took over.

    `publish` of a save or a delete: messages that are published with it, pairs of channel and message (`OutboxMessage`
    says more): both happen or neither. The store hands them to the bus as stored messages, at least once with their
    ids, those of one channel in the order of the writes; while the bus is away, they wait in the store. A delete that
    finds no record publishes nothing. What the bus would refuse, more than 1,000 messages, and a store that has no bus
    raise `InvalidRecordError`; a full outbox raises `OverloadedError`; nothing is written.

    A custom store needs the abstract methods, without their keyword options; the methods it leaves out raise
    NotImplementedError.
    """

    @abstractmethod
    async def connect(self) -> None:
        """Opens the store; idempotent."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Closes the store; idempotent."""

    @property
    def is_connected(self) -> bool:
        """Whether the store can be reached now."""
        raise unsupported(self, "is_connected")

    @abstractmethod
    async def save_agent_state(
        self,
        state: AgentState,
        *,
        expected_revision: int | None = None,
        lease: Held | None = None,
        ttl: float | None = None,
        fence: Held | None = None,
        publish: Publish = (),
    ) -> int:
        """Saves a whole record; returns its new revision."""

    @abstractmethod
    async def get_agent_state(self, agent_id: str) -> AgentState | None:
        """Returns the record, or None."""

    @abstractmethod
    async def list_agent_states(
        self, *, status: str | None = None, type: str | None = None, page_size: int | None = None
    ) -> list[AgentState]:
        """Returns all that match, in order of their ids; fetched in pages of `page_size`."""

    @abstractmethod
    async def delete_agent_state(
        self, agent_id: str, *, expected_revision: int | None = None, fence: Held | None = None, publish: Publish = ()
    ) -> bool:
        """Deletes the record; returns whether there was one."""

    @abstractmethod
    async def save_workflow_state(
        self,
        state: WorkflowState,
        *,
        expected_revision: int | None = None,
        lease: Held | None = None,
        ttl: float | None = None,
        fence: Held | None = None,
        publish: Publish = (),
    ) -> int:
        """Saves a whole record; returns its new revision."""

    @abstractmethod
    async def get_workflow_state(self, workflow_id: str) -> WorkflowState | None:
        """Returns the record, or None."""

    async def list_workflow_states(
        self, *, status: str | None = None, phase: str | None = None, page_size: int | None = None
    ) -> list[WorkflowState]:
        """Returns all that match, in order of their ids; fetched in pages of `page_size`."""
        raise unsupported(self, "list_workflow_states()")

    async def delete_workflow_state(
        self,
        workflow_id: str,
        *,
        expected_revision: int | None = None,
        fence: Held | None = None,
        publish: Publish = (),
    ) -> bool:
        """Deletes the record; returns whether there was one."""
        raise unsupported(self, "delete_workflow_state()")

    @abstractmethod
    async def save_task_result(
        self,
        result: TaskResult,
        *,
        expected_revision: int | None = None,
        lease: Held | None = None,
        ttl: float | None = None,
        fence: Held | None = None,
        publish: Publish = (),
    ) -> int:
        """Saves a whole record; returns its new revision."""

    @abstractmethod
    async def get_task_result(self, task_id: str) -> TaskResult | None:
        """Returns the record, or None."""

    async def list_task_results(
        self, *, status: str | None = None, agent_id: str | None = None, page_size: int | None = None
    ) -> list[TaskResult]:
        """Returns all that match, in order of their ids; fetched in pages of `page_size`."""
        raise unsupported(self, "list_task_results()")

    async def delete_task_result(
        self, task_id: str, *, expected_revision: int | None = None, fence: Held | None = None, publish: Publish = ()
    ) -> bool:
        """Deletes the record; returns whether there was one."""
        raise unsupported(self, "delete_task_result()")

    async def batch(self, operations: Sequence[Operation], *, atomic: bool = False) -> list[Outcome]:
        """Executes 1 to 10,000 operations in order in one call; returns an outcome for each.

        With `atomic`, all writes are made or none, and the error of the first operation that fails is raised, with its
        index in details["operation"]. A custom store that does not override it executes operations one by one, and
        cannot do `atomic`.
        """
        if atomic:
            raise unsupported(self, "atomic batch()")
        return [await self._do(operation) for operation in operations]

    async def _do(self, operation: Operation) -> Outcome:
        """Executes one operation by the method of its kind: `save_agent_state`, `get_task_result` and so on."""
        name, kind, subject = _verb(operation)
        values = ((option, getattr(operation, option, None)) for option in _OPTIONS)
        options = {option: value for option, value in values if value is not None and value != ()}
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
        capability: str | None = None,
        after_revision: int | None = None,
    ) -> AsyncIterator[Change]:
        """Yields the records that match, then SYNCED, then each change in order. Without kinds: of agent states,
        workflow states and task results.

        With `after_revision`, it begins with the changes after that revision instead of the records.

        A watch whose connection was lost resumes after the last revision that it yielded.

        Raises:
            CompactedError: the changes after that revision are no longer stored; details oldest.
        """
        raise unsupported(self, "watch()")

    async def touch(self, kind: Kind, id: str, *, ttl: float | None = None) -> bool:
        """Begins the TTL of a record anew, which keeps its revision; returns whether there is such a record.

        Args:
            kind, id: the record.
            ttl: its new TTL in seconds, 0.1 to 365 days; None: the one that it has.

        Raises:
            InvalidRecordError: the record has no TTL, and none is given.
        """
        raise unsupported(self, "touch()")

    async def acquire(
        self,
        name: str,
        *,
        ttl: float = LEASE_TTL,
        wait: float | bool = False,
        holder: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        resume: Lease | None = None,
        on_lost: Callable[[Lease], object] | None = None,
    ) -> Lease:
        """Takes the lease of a name that nobody holds; it renews itself until it is released.

        Args:
            name: 1 to 512 characters.
            ttl: seconds after which it is lost without a renewal, 0.1 to 86,400; it is renewed three times as often.
            wait: seconds to wait for whoever holds it, first come, first served; True: up to a day. A caller that is
                cancelled takes nothing.
            holder: who holds it, for people; None: what the client is called.
            metadata: a JSON object, for others.
            resume: the lease of this name that this program had and lost. Where the service has it still, since it was
                away itself, it is held on with its number, and all that is bound to it stays.
            on_lost: called with the lease if it is lost.

        Raises:
            LeaseHeldError: another holds it, also after the wait.
            InvalidRecordError: an argument cannot be; names the field.
        """
        raise unsupported(self, "acquire()")

    async def list_leases(self, *, name: str | None = None) -> list[LeaseInfo]:
        """Returns the leases that are held, in order of their names; with `name`, that one alone."""
        raise unsupported(self, "list_leases()")

    async def release_lease(self, name: str, number: int) -> None:
        """Ends a lease, whoever holds it, and all that is bound to it. Raises `LeaseLostError` for another number."""
        raise unsupported(self, "release_lease()")

    def watch_leases(self, name: str | None = None, *, after_revision: int | None = None) -> AsyncIterator[Change]:
        """Watches who takes and loses leases; see `watch`. `record` of a change is a `LeaseInfo`."""
        return self.watch("lease", id=name, after_revision=after_revision)

    async def announce(
        self,
        agent_id: str,
        capabilities: Sequence[str] = (),
        *,
        type: AgentType | str = "agent",
        status: AgentStatus | str = AgentStatus.IDLE,
        metadata: Mapping[str, Any] | None = None,
        ttl: float = LEASE_TTL,
        on_lost: Callable[[Announcement], object] | None = None,
    ) -> Announcement:
        """Announces an agent, so that others find it; it is gone when this program ends or withdraws it.

        Args:
            agent_id: at most 506 characters.
            capabilities: what it can do: up to 256 names.
            type, status: well known, or any other name.
            metadata: a JSON object, for others.
            ttl: seconds after which it is gone if this program dies.
            on_lost: called if it is lost; it is then announced again as soon as that is possible.

        Raises:
            LeaseHeldError: an agent with this id is announced already.
            InvalidRecordError: an argument cannot be; names the field.
        """
        raise unsupported(self, "announce()")

    async def find_agents(
        self, *, capability: str | None = None, type: str | None = None, status: str | None = None
    ) -> list[AgentPresence]:
        """Returns the agents that are there and match, in order of their ids."""
        raise unsupported(self, "find_agents()")

    def watch_agents(
        self,
        *,
        capability: str | None = None,
        type: str | None = None,
        status: str | None = None,
        after_revision: int | None = None,
    ) -> AsyncIterator[Change]:
        """Watches which agents are there and match; see `watch`. `record` of a change is an `AgentPresence`."""
        return self.watch(
            "agent_presence", capability=capability, type=type, status=status, after_revision=after_revision
        )

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


_OPTIONS: Final = ("expected_revision", "publish", "lease", "ttl", "fence")


def _verb(operation: Operation) -> tuple[str, Kind, Record | AgentPresence | str]:
    """Returns the verb and the kind of an operation, and the record to save or the id."""
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
