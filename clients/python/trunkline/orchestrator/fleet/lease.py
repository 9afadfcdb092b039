"""OrchestratorLease: the lease of an orchestrator's name. All that it claims is bound to it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Final

import psutil

from trunkline import Lease, LeaseHeldError, LeaseInfo, LeaseLostError, StateManager
from trunkline.orchestrator.errors import OrchestratorExistsError
from trunkline.orchestrator.fleet.holder import Holder
from trunkline.orchestrator.fleet.store import has_leases

_PREFIX: Final = "orchestrator/"
_MARGIN: Final = 1.0
"""Seconds for which a lease that may end is waited for beyond its end."""


class OrchestratorLease:
    """The lease of one orchestrator. A store without leases gives none: then names are not guarded.

    Args:
        state: the store.
        holder: the orchestrator.
        ttl: seconds without a renewal, after which the orchestrator counts as dead.

    Attributes:
        held: the lease. One that was lost stays until there is the next, and what is written with it is refused.
    """

    def __init__(self, state: StateManager, holder: Holder, ttl: float) -> None:
        self._state = state
        self._holder = holder
        self._ttl = ttl
        self._name = lease_name(holder.name)
        self.held: Lease | None = None

    @property
    def number(self) -> int:
        """Its fencing number; 0 where there is none."""
        return 0 if self.held is None else self.held.number

    async def take(self) -> None:
        """Takes the lease; or holds on what was lost by this machine's clock, where the store has it still. The name of
        an orchestrator that is dead is taken over: at once where it ran on this host, else when its lease has ended.

        Raises:
            OrchestratorExistsError: another orchestrator of this name is alive.
            As the store.
        """
        if not has_leases(self._state):
            return
        try:
            self.held = await self._acquire(0.0)
        except LeaseHeldError:
            self.held = await self._succeed()

    async def release(self) -> None:
        """Ends it, and all that is bound to it. Idempotent."""
        if self.held is not None:
            await self.held.release()

    def abandon(self) -> None:
        """Ends to renew it: it ends by itself. Idempotent."""
        if self.held is not None:
            self.held.abandon()

    async def _acquire(self, wait: float) -> Lease:
        who = {"orchestrator_id": self._holder.id, "host": self._holder.host, "pid": os.getpid()}
        return await self._state.acquire(self._name, ttl=self._ttl, wait=wait, metadata=who, resume=self.held)

    async def _succeed(self) -> Lease:
        wait = _MARGIN
        before: LeaseInfo | None = None
        for before in await self._state.list_leases(name=self._name):
            if _is_certainly_dead(before):
                with suppress(LeaseLostError):
                    await self._state.release_lease(before.name, before.number)
            else:
                wait += before.remaining or self._ttl
        try:
            return await self._acquire(wait)
        except LeaseHeldError as error:
            facts = {} if before is None else before.metadata
            host = facts.get("host")
            raise OrchestratorExistsError(
                f"another orchestrator is called {self._holder.name!r}: process {facts.get('pid')} on {host}",
                details={"orchestrator": self._holder.name, "host": host},
            ) from error


def lease_name(orchestrator: str) -> str:
    """Returns the name of an orchestrator's lease."""
    return _PREFIX + orchestrator


def _is_certainly_dead(lease: LeaseInfo) -> bool:
    """Tells whether an orchestrator of this host is dead; False where only time can tell."""
    pid = lease.metadata.get("pid")
    return lease.metadata.get("host") == socket.gethostname() and isinstance(pid, int) and not psutil.pid_exists(pid)
