"""Leases as their holders and others see them: names that one holder at a time has, for as long as it renews them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Protocol, Self

from trunkline.callbacks import notify
from trunkline.errors import LeaseLostError, StateError, TrunklineError
from trunkline.limits import MAX_LEASE_TTL, MAX_LEASE_WAIT, MIN_TTL
from trunkline.records import check_holder, check_record_id, check_seconds

_RENEWALS: Final = 3
"""A lease is renewed so many times in its TTL, and a renewal that failed is tried again as often in what is left."""
_RETRY_SECONDS: Final = 0.05
"""The shortest time between a renewal that failed and the next one."""
RELEASE_SECONDS: Final = 1.0
"""A client that disconnects releases what it holds, and waits so long for that at the most."""


@dataclass(frozen=True, slots=True)
class LeaseInfo:
    """A lease that somebody holds.

    Attributes:
        name: of the lease.
        number: the fencing number: higher for each holder of the name, for ever.
        holder: who has it, for people.
        ttl: seconds after its last renewal at which it ends.
        metadata: what its holder said of it.
        acquired_at: when it was taken.
        remaining: seconds until it ends unless it is renewed, when it was asked for; None: from a watch, which does not
            tell renewals.
        written_by, written_at: who took it, as the service knows, and when, as of every record.
    """

    name: str
    number: int
    holder: str
    ttl: float
    metadata: Mapping[str, Any] = field(default_factory=dict)
    acquired_at: datetime | None = None
    remaining: float | None = None
    written_by: str | None = field(default=None, compare=False)
    written_at: datetime | None = field(default=None, compare=False)

    @property
    def revision(self) -> int:
        """The revision of its record, which is its number."""
        return self.number


class Held(Protocol):
    """A lease as a save names it: a `Lease`, or a `LeaseInfo`."""

    @property
    def name(self) -> str:
        """The name of the lease."""

    @property
    def number(self) -> int:
        """Its fencing number."""


class LeaseCalls(Protocol):
    """The calls that a lease makes."""

    async def renew_lease(self, name: str, number: int, timeout: float) -> None:
        """Begins its TTL anew. Raises `LeaseLostError`."""

    async def release_lease(self, name: str, number: int) -> None:
        """Ends it. Raises `LeaseLostError`."""


class Lease:
    """A lease that this program holds. It renews itself until it is released, or lost. Usable as `async with`, which
    releases it.

    It counts as lost by this program's own clock: one TTL after the last renewal that succeeded was *sent*. So it never
    believes in a lease that the service gave to another, also after the program stood still. What it does with the
    lease is still under way then; writes with `fence=lease` are refused by the service.

    Attributes:
        name: of the lease.
        number: the fencing number.
        ttl: in seconds.
        ended: set when it is lost, or released.
        error: why it was lost; None while it is not.
    """

    def __init__(
        self,
        calls: LeaseCalls,
        name: str,
        number: int,
        ttl: float,
        sent_at: float,
        on_lost: Callable[[Lease], object] | None,
    ) -> None:
        self.name = name
        self.number = number
        self.ttl = ttl
        self.ended = asyncio.Event()
        self.error: TrunklineError | None = None
        self._calls = calls
        self._loop = asyncio.get_running_loop()
        self._held_until = sent_at + ttl
        self._on_lost = on_lost
        self._released = False
        self._renewing = asyncio.ensure_future(self._renew_forever())

    @property
    def is_held(self) -> bool:
        """Whether it is held, as far as this program can know."""
        return self.error is None and not self._released and self.remaining > 0

    @property
    def remaining(self) -> float:
        """Seconds until it is lost unless it is renewed."""
        return max(0.0, self._held_until - self._loop.time())

    def check(self) -> None:
        """Raises `LeaseLostError` unless it is held."""
        if not self.is_held:
            raise self._lost_error()

    async def release(self) -> None:
        """Ends it; with it ends all that is bound to it. Idempotent, also after it was lost."""
        if self._released or self.error is not None:
            return
        self._end()
        with suppress(LeaseLostError):
            await self._calls.release_lease(self.name, self.number)

    def abandon(self) -> None:
        """Stops to renew it without a word to the service, where it ends by its TTL. Idempotent."""
        if not self._released and self.error is None:
            self._end()

    def _end(self) -> None:
        self._released = True
        self._renewing.cancel()
        self.ended.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(StateError):  # it ends by its TTL
            await self.release()

    async def _renew_forever(self) -> None:
        pause = self.remaining - self.ttl * (1 - 1 / _RENEWALS)
        while True:
            await asyncio.sleep(max(0.0, pause))
            sent_at = self._loop.time()
            left = self._held_until - sent_at
            if left <= 0:
                self._lose(self._lost_error())
                return
            try:
                async with asyncio.timeout(left):
                    await self._calls.renew_lease(self.name, self.number, left)
            except LeaseLostError as error:
                self._lose(error)
                return
            except (TrunklineError, TimeoutError):
                pause = min(max(left / _RENEWALS, _RETRY_SECONDS), max(0.0, self.remaining))
            else:
                self._held_until = sent_at + self.ttl
                pause = self.ttl / _RENEWALS

    def _lose(self, error: TrunklineError) -> None:
        self.error = error
        self.ended.set()
        notify(self._on_lost, self)

    def _lost_error(self) -> TrunklineError:
        if self.error is not None:
            return self.error
        why = "was released" if self._released else f"was not renewed for {self.ttl:g} s"
        return LeaseLostError(
            f"the lease {self.name!r} with number {self.number} {why}",
            details={"name": self.name, "number": self.number, "current": 0},
        )

    def __repr__(self) -> str:
        state = "held" if self.is_held else "not held"
        return f"<Lease {self.name!r} number {self.number}, {state}>"


def check_lease(name: str, ttl: float, wait: float, holder: str) -> None:
    """Raises `InvalidRecordError` for a lease that cannot be."""
    check_record_id("name", name)
    check_seconds("ttl", ttl, MIN_TTL, MAX_LEASE_TTL)
    check_seconds("wait", wait, 0, MAX_LEASE_WAIT)
    check_holder(holder)


def wait_seconds(wait: float | bool) -> float:
    """Returns the seconds that a caller is ready to wait for a lease; True: as long as can be."""
    return MAX_LEASE_WAIT if wait is True else float(wait)
