"""RecordManager: the base of state managers. It maps the typed methods of `StateManager` to four for any kind."""

from __future__ import annotations

import asyncio
import math
import weakref
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast

from trunkline.addresses import this_process
from trunkline.errors import (
    LeaseHeldError,
    LeaseLostError,
    RevisionMismatchError,
    StateError,
    StateNotConnectedError,
)
from trunkline.limits import LEASE_TTL
from trunkline.models import AgentState, AgentStatus, AgentType, Record, TaskResult, WorkflowState
from trunkline.records import Kind, check_capabilities, invalid_record
from trunkline.state.filter import Filter
from trunkline.state.leases import RELEASE_SECONDS, Held, Lease, LeaseInfo, check_lease, wait_seconds
from trunkline.state.outbox import Publish
from trunkline.state.presence import AgentPresence, Announcement, lease_name
from trunkline.state.state_manager import Delete, Save, StateManager

Stored = Record | LeaseInfo | AgentPresence
"""Whatever a store keeps."""

_R = TypeVar("_R", AgentState, WorkflowState, TaskResult)


class RecordManager(StateManager):
    """A `StateManager` that leaves only `_save`, `_get`, `_list`, `_delete`, `batch`, `watch`, and single calls about
    leases to be written."""

    def __init__(self) -> None:
        self._leases: weakref.WeakSet[Lease] = weakref.WeakSet()
        """The leases that were taken; each is there at least while it renews itself."""

    @property
    def client_name(self) -> str:
        """What this client is called, for people."""
        return this_process()

    @abstractmethod
    async def _save(self, save: Save) -> int: ...

    @abstractmethod
    async def _get(self, kind: Kind, id: str) -> Stored | None: ...

    @abstractmethod
    async def _list(self, kind: Kind, filter: Filter, page_size: int | None) -> list[Stored]: ...

    @abstractmethod
    async def _delete(self, delete: Delete) -> bool: ...

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
        return await self._save(Save(_instance(AgentState, state), expected_revision, publish, lease, ttl, fence))

    async def get_agent_state(self, agent_id: str) -> AgentState | None:
        return cast("AgentState | None", await self._get("agent_state", agent_id))

    async def list_agent_states(
        self, *, status: str | None = None, type: str | None = None, page_size: int | None = None
    ) -> list[AgentState]:
        return cast("list[AgentState]", await self._list("agent_state", Filter(status=status, type=type), page_size))

    async def delete_agent_state(
        self, agent_id: str, *, expected_revision: int | None = None, fence: Held | None = None, publish: Publish = ()
    ) -> bool:
        return await self._delete(Delete("agent_state", agent_id, expected_revision, publish, fence))

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
        return await self._save(Save(_instance(WorkflowState, state), expected_revision, publish, lease, ttl, fence))

    async def get_workflow_state(self, workflow_id: str) -> WorkflowState | None:
        return cast("WorkflowState | None", await self._get("workflow_state", workflow_id))

    async def list_workflow_states(
        self, *, status: str | None = None, phase: str | None = None, page_size: int | None = None
    ) -> list[WorkflowState]:
        filter = Filter(status=status, phase=phase)
        return cast("list[WorkflowState]", await self._list("workflow_state", filter, page_size))

    async def delete_workflow_state(
        self,
        workflow_id: str,
        *,
        expected_revision: int | None = None,
        fence: Held | None = None,
        publish: Publish = (),
    ) -> bool:
        return await self._delete(Delete("workflow_state", workflow_id, expected_revision, publish, fence))

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
        return await self._save(Save(_instance(TaskResult, result), expected_revision, publish, lease, ttl, fence))

    async def get_task_result(self, task_id: str) -> TaskResult | None:
        return cast("TaskResult | None", await self._get("task_result", task_id))

    async def list_task_results(
        self, *, status: str | None = None, agent_id: str | None = None, page_size: int | None = None
    ) -> list[TaskResult]:
        filter = Filter(status=status, agent_id=agent_id)
        return cast("list[TaskResult]", await self._list("task_result", filter, page_size))

    async def delete_task_result(
        self, task_id: str, *, expected_revision: int | None = None, fence: Held | None = None, publish: Publish = ()
    ) -> bool:
        return await self._delete(Delete("task_result", task_id, expected_revision, publish, fence))

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
        seconds = wait_seconds(wait)
        holder = self.client_name if holder is None else holder
        check_lease(name, ttl, seconds, holder)
        loop = asyncio.get_running_loop()
        sent_at = loop.time()
        number = None if resume is None else await self._renewed(name, resume)
        if resume is not None and number is not None:
            ttl = resume.ttl
        else:
            sent_at = loop.time()
            number = await self._acquire(name, holder, ttl, seconds, metadata or {})
            if loop.time() - sent_at > ttl / 3:  # when the service gave it is not known: a renewal says
                sent_at = loop.time()
                await self.renew_lease(name, number, ttl)
        lease = Lease(self, name, number, ttl, sent_at, on_lost)
        self._leases.add(lease)
        return lease

    async def _renewed(self, name: str, lease: Held) -> int | None:
        """Renews a lease that this program counts as lost; returns its number, or None where it is over."""
        if lease.name != name:
            raise invalid_record("resume", f"is a lease of {lease.name!r}, not of {name!r}", lease.name)
        try:
            await self.renew_lease(name, lease.number, math.inf)
        except LeaseLostError:
            return None
        return lease.number

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
        name = lease_name(agent_id)
        presence = AgentPresence(agent_id, type, status, tuple(check_capabilities(capabilities)), metadata or {})

        async def save(presence: AgentPresence, lease: Lease) -> int:
            return await self._save(Save(presence, lease=lease))

        lease = await self.acquire(name, ttl=ttl)
        try:
            await self._save(Save(presence, 0, lease=lease))
        except StateError as error:
            with suppress(StateError):
                await lease.release()
            if isinstance(error, RevisionMismatchError):
                raise _announced_already(agent_id) from None
            raise
        except BaseException:
            lease.abandon()
            raise

        async def acquire(lost: Lease) -> Lease:
            return await self.acquire(name, ttl=ttl, wait=ttl, resume=lost)

        return Announcement(presence, lease, acquire, save, on_lost)

    async def find_agents(
        self, *, capability: str | None = None, type: str | None = None, status: str | None = None
    ) -> list[AgentPresence]:
        filter = Filter(status=status, type=type, capability=capability)
        return cast("list[AgentPresence]", await self._list("agent_presence", filter, None))

    @abstractmethod
    async def _acquire(self, name: str, holder: str, ttl: float, wait: float, metadata: Mapping[str, Any]) -> int: ...

    @abstractmethod
    async def renew_lease(self, name: str, number: int, timeout: float) -> None:
        """Begins the TTL of a lease anew; a `Lease` does so by itself."""

    async def _release_all(self) -> None:
        """Releases the leases that are held, for so long as that may take; none of them renews itself any more."""
        leases = list(self._leases)
        releases = [asyncio.ensure_future(lease.release()) for lease in leases if lease.is_held and self.is_connected]
        if releases:
            _, late = await asyncio.wait(releases, timeout=RELEASE_SECONDS)
            for release in late:
                release.cancel()
            await asyncio.gather(*releases, return_exceptions=True)
        for lease in leases:
            lease.abandon()


def _announced_already(agent_id: str) -> LeaseHeldError:
    """Makes the error of an agent that another lease than its own announces: an orchestrator's that runs it."""
    return LeaseHeldError(
        f"agent {agent_id!r} is announced already, by whoever runs it",
        details={"name": lease_name(agent_id), "holder": "", "number": 0, "remaining_seconds": 0.0},
    )


def not_connected() -> StateNotConnectedError:
    """Makes the error of a call before `connect()` or after `disconnect()`."""
    return StateNotConnectedError("the state manager is not connected: call connect() first")


def _instance(cls: type[_R], record: _R) -> _R:
    """Returns a record of this class unchanged; raises `TypeError` for any other object."""
    if not isinstance(record, cls):
        raise TypeError(f"want {cls.__name__}, not {type(record).__name__}")
    return record
