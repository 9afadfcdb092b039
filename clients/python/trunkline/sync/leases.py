"""The synchronous Lease and Announcement."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from trunkline.errors import TrunklineError
from trunkline.models import AgentStatus
from trunkline.state.leases import Lease as AsyncLease
from trunkline.state.presence import AgentPresence
from trunkline.state.presence import Announcement as AsyncAnnouncement

Wait = Callable[[Coroutine[Any, Any, None]], None]
"""How a face waits."""


class Lease:
    """`trunkline.Lease`, synchronous; see there. It is renewed in the loop of the synchronous faces."""

    def __init__(self, lease: AsyncLease, wait: Wait) -> None:
        self._lease = lease
        self._wait = wait

    @property
    def name(self) -> str:
        """See `trunkline.Lease`."""
        return self._lease.name

    @property
    def number(self) -> int:
        """See `trunkline.Lease`."""
        return self._lease.number

    @property
    def ttl(self) -> float:
        """See `trunkline.Lease`."""
        return self._lease.ttl

    @property
    def error(self) -> TrunklineError | None:
        """See `trunkline.Lease`."""
        return self._lease.error

    @property
    def is_held(self) -> bool:
        """See `trunkline.Lease.is_held`."""
        return self._lease.is_held

    @property
    def remaining(self) -> float:
        """See `trunkline.Lease.remaining`."""
        return self._lease.remaining

    def check(self) -> None:
        """See `trunkline.Lease.check`."""
        self._lease.check()

    def release(self) -> None:
        """See `trunkline.Lease.release`."""
        self._wait(self._lease.release())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._wait(self._lease.__aexit__(exc_type, exc, traceback))


class Announcement:
    """`trunkline.Announcement`, synchronous; see there."""

    def __init__(self, announcement: AsyncAnnouncement, wait: Wait) -> None:
        self._announcement = announcement
        self._wait = wait

    @property
    def presence(self) -> AgentPresence:
        """See `trunkline.Announcement`."""
        return self._announcement.presence

    @property
    def is_announced(self) -> bool:
        """See `trunkline.Announcement.is_announced`."""
        return self._announcement.is_announced

    def update(
        self,
        *,
        status: AgentStatus | str | None = None,
        capabilities: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """See `trunkline.Announcement.update`."""
        self._wait(self._announcement.update(status=status, capabilities=capabilities, metadata=metadata))

    def withdraw(self) -> None:
        """See `trunkline.Announcement.withdraw`."""
        self._wait(self._announcement.withdraw())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._wait(self._announcement.__aexit__(exc_type, exc, traceback))
