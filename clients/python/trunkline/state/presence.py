"""Presence: agents that are there, what they can do, and how one announces itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from trunkline.callbacks import notify
from trunkline.errors import StateError, TrunklineError
from trunkline.limits import MAX_ID_LENGTH
from trunkline.models import AgentStatus, AgentType
from trunkline.models.fields import now
from trunkline.records import check_capabilities, check_record_id, invalid_record
from trunkline.state.leases import Lease

_PREFIX: Final = "agent/"
_AGAIN_SECONDS: Final = 1.0
"""After an announcement that failed the next try comes so much later."""


@dataclass(frozen=True, slots=True)
class AgentPresence:
    """An agent that is there, as it announced itself; it is gone when its lease ends.

    Attributes:
        agent_id: the agent, and the record's id.
        agent_type: well known, or any other name.
        status: well known, or any other name.
        capabilities: what it can do.
        metadata: what it says of itself.
        announced_at: when it announced itself first.
        revision: of a record that was read.
        written_by, written_at: whose write that is, and when it was made, as of every record.
    """

    agent_id: str
    agent_type: AgentType | str = "agent"
    status: AgentStatus | str = AgentStatus.IDLE
    capabilities: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    announced_at: datetime = field(default_factory=now)
    revision: int | None = field(default=None, compare=False)
    written_by: str | None = field(default=None, compare=False)
    written_at: datetime | None = field(default=None, compare=False)


Acquire = Callable[[Lease], Awaitable[Lease]]
"""Takes the lease again, after the one that was lost."""
Save = Callable[[AgentPresence, Lease], Awaitable[object]]


class Announcement:
    """An agent that is announced, until it is withdrawn. Usable as `async with`, which withdraws it.

    Its lease renews itself. If the lease is lost, because the service could not be reached for longer than its TTL, the
    agent announces itself again as soon as nobody else has its id.

    Attributes:
        presence: as it was announced last.
        lease: the lease that it is bound to.
    """

    def __init__(
        self,
        presence: AgentPresence,
        lease: Lease,
        acquire: Acquire,
        save: Save,
        on_lost: Callable[[Announcement], object] | None,
    ) -> None:
        self.presence = presence
        self.lease = lease
        self._acquire = acquire
        self._save = save
        self._on_lost = on_lost
        self._lock = asyncio.Lock()
        self._keeping = asyncio.ensure_future(self._keep())

    @property
    def is_announced(self) -> bool:
        """Whether others can see it, as far as this program can know."""
        return self.lease.is_held

    async def update(
        self,
        *,
        status: AgentStatus | str | None = None,
        capabilities: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Announces what changed; what is None stays. If the lease is lost meanwhile, it is announced with the next."""
        changes = {"status": status, "capabilities": capabilities, "metadata": metadata}
        presence = replace(self.presence, **{name: value for name, value in changes.items() if value is not None})  # type: ignore[arg-type]
        check_capabilities(presence.capabilities)
        async with self._lock:
            self.presence = presence
            if self.lease.is_held:
                await self._save(presence, self.lease)

    async def withdraw(self) -> None:
        """Ends it: the agent is gone for everybody. Idempotent."""
        self._keeping.cancel()
        await self.lease.release()

    async def _keep(self) -> None:
        while True:
            await self.lease.ended.wait()
            if self.lease.error is None:
                return  # released
            notify(self._on_lost, self)
            while True:
                try:
                    lease = await self._acquire(self.lease)
                except TrunklineError:
                    await asyncio.sleep(_AGAIN_SECONDS)
                    continue
                try:
                    async with self._lock:
                        await self._save(self.presence, lease)
                        self.lease = lease
                    break
                except TrunklineError:
                    lease.abandon()
                    await asyncio.sleep(_AGAIN_SECONDS)
                except BaseException:
                    lease.abandon()
                    raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(StateError):  # it ends by its TTL
            await self.withdraw()


def lease_name(agent_id: str) -> str:
    """Returns the name of the lease that an agent's presence is bound to."""
    check_record_id("agent_id", agent_id)
    longest = MAX_ID_LENGTH - len(_PREFIX)
    if len(agent_id) > longest:
        raise invalid_record(
            "agent_id", f"has {len(agent_id)} characters, at most {longest} are announced", agent_id[:80]
        )
    return _PREFIX + agent_id
