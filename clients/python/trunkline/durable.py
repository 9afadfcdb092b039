"""The words of durable delivery: receipts, settings, and the message that a durable subscription hands out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Literal, Protocol

from pydantic import PrivateAttr

from trunkline.channels import check_name
from trunkline.errors import InvalidMessageError
from trunkline.limits import (
    DEFAULT_ACK_WAIT,
    DEFAULT_BACKOFF_INITIAL,
    DEFAULT_BACKOFF_MAXIMUM,
    DEFAULT_BACKOFF_MULTIPLIER,
    DEFAULT_MAX_DELIVERIES,
    MAX_ACK_WAIT,
    MAX_BACKOFF_MULTIPLIER,
    MAX_DELIVER_AHEAD,
    MAX_MAX_DELIVERIES,
    MAX_NAK_DELAY,
    MAX_ORDERING_KEY_BYTES,
    MIN_ACK_WAIT,
)
from trunkline.models import AgentMessage

Start = Literal["new", "all"] | int | datetime
"""Where a durable subscription starts: at what is published from now on, at the oldest message that is kept, at a
sequence (from 1), or at a time (with a time zone)."""


class Durability(StrEnum):
    """What became of a published message, from the least to the most."""

    MEMORY = "memory"
    """In the memory of the service: gone when it ends."""
    STORED = "stored"
    """In the journal, synced to disk."""
    REPLICATED = "replicated"
    """Stored on more than one machine."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a publisher gets back for a stored message."""

    sequence: int
    """Its place in the order of what the service took, from 1; 0 if it was past its TTL and dropped, or if a sidecar
    holds it."""
    time: datetime
    """When the service took it."""
    durability: Durability
    """What was really reached."""
    duplicate: bool = False
    """The message id was stored already a short time ago, and nothing was stored again; sequence and time are the
    first one's."""
    held_by_sidecar: bool = False
    """The bus was away; the sidecar stored it, and hands it on in order when the bus is back."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a message waits for its next attempt: `initial` seconds, times `multiplier` with each attempt, at most
    `maximum` seconds. An initial 0 means at once."""

    initial: float = DEFAULT_BACKOFF_INITIAL
    multiplier: float = DEFAULT_BACKOFF_MULTIPLIER
    maximum: float = DEFAULT_BACKOFF_MAXIMUM

    def delay(self, attempt: int) -> float:
        """Seconds after the attempt of that number, from 1."""
        if not self.initial:
            return 0.0
        try:
            return min(self.maximum, self.initial * self.multiplier ** (attempt - 1))
        except OverflowError:
            return self.maximum


@dataclass(frozen=True, slots=True)
class DurableSettings:
    """How a durable subscription delivers.

    Args:
        ack_wait: seconds that a message is leased, 0.1 to 1 day; the client extends the lease of what it holds.
        max_deliveries: after so many attempts a message becomes a dead letter, 1 to 1,000.
        backoff: how long a failed message waits for its next attempt.
    """

    ack_wait: float = DEFAULT_ACK_WAIT
    max_deliveries: int = DEFAULT_MAX_DELIVERIES
    backoff: Backoff = field(default_factory=Backoff)

    def check(self) -> DurableSettings:
        """Returns itself.

        Raises:
            InvalidMessageError: a figure is out of bounds; details field and value.
        """
        check_between("settings.ack_wait", self.ack_wait, MIN_ACK_WAIT, MAX_ACK_WAIT, " s")
        check_between("settings.max_deliveries", self.max_deliveries, 1, MAX_MAX_DELIVERIES)
        check_between("settings.backoff.initial", self.backoff.initial, 0, MAX_NAK_DELAY, " s")
        check_between("settings.backoff.multiplier", self.backoff.multiplier, 1, MAX_BACKOFF_MULTIPLIER)
        check_between("settings.backoff.maximum", self.backoff.maximum, self.backoff.initial, MAX_NAK_DELAY, " s")
        return self


DEFAULT_SETTINGS: Final = DurableSettings()


class Settler(Protocol):
    """Where a handed-out message is settled: what stands behind `DurableMessage`."""

    async def ack(self, message: DurableMessage) -> None: ...

    async def nak(self, message: DurableMessage, error: str, delay: float | None) -> None: ...

    async def terminate(self, message: DurableMessage, reason: str) -> None: ...

    async def extend(self, message: DurableMessage, seconds: float | None) -> None: ...


class DurableMessage(AgentMessage):
    """A message that a durable subscription handed out: an `AgentMessage` that can be settled.

    Where nothing is said, the client settles it: a callback that returns acks, one that raises naks with its error; the
    next step of an iterator acks the message before. What was settled already is left as it is.
    """

    _sequence: int = PrivateAttr(default=0)
    _attempt: int = PrivateAttr(default=1)
    _channel: str = PrivateAttr(default="")
    _settler: Settler | None = PrivateAttr(default=None)
    _settled: bool = PrivateAttr(default=False)

    @property
    def sequence(self) -> int:
        """Its place in the order of the bus."""
        return self._sequence

    @property
    def attempt(self) -> int:
        """The how many-th time it is handed out, from 1: above 1, somebody may have begun with it before."""
        return self._attempt

    @property
    def channel(self) -> str:
        """Where it was published."""
        return self._channel

    @property
    def settled(self) -> bool:
        """Whether it was acked, nakked or terminated here, or its lease was lost."""
        return self._settled

    async def ack(self) -> None:
        """It is done. Sent at once; what the service refuses as stale is logged."""
        await self._hand("ack")

    async def nak(self, error: str = "", *, delay: float | None = None) -> None:
        """It failed: try again, after `delay` seconds (0 to 7 days) or, unset, as the backoff says."""
        if delay is not None:
            check_between("delay", delay, 0, MAX_NAK_DELAY, " s")
        await self._hand("nak", error, delay)

    async def terminate(self, reason: str) -> None:
        """It can never be done: it becomes a dead letter now."""
        await self._hand("terminate", reason)

    async def extend(self, seconds: float | None = None) -> None:
        """It is still at work: leases it for `seconds` (0.1 to 1 day) from now. The client does so by itself for all
        that it holds."""
        if seconds is not None:
            check_between("seconds", seconds, MIN_ACK_WAIT, MAX_ACK_WAIT, " s")
        await self._hand("extend", seconds)

    async def _hand(self, verb: str, *words: Any) -> None:
        if self._settler is None:
            raise InvalidMessageError(
                f"message {self.message_id!r} was not handed out by a durable subscription",
                details={"field": "message", "value": self.message_id},
            )
        call: Callable[..., Awaitable[None]] = getattr(self._settler, verb)
        await call(self, *words)


def check_between(field: str, value: float, lowest: float, highest: float, unit: str = "") -> None:
    """Raises InvalidMessageError where a figure is out of bounds, or no number at all."""
    if not lowest <= value <= highest:  # also true of NaN
        raise InvalidMessageError(
            f"{field} is {value:g}{unit}, it must be between {lowest:g} and {highest:g}{unit}",
            details={"field": field, "value": f"{value:g}"},
        )


def check_start(start: Start) -> None:
    """Raises InvalidMessageError where that is no place to start at."""
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise InvalidMessageError(
                f"start is {start.isoformat()}, which has no time zone", details={"field": "start", "value": str(start)}
            )
        return
    if isinstance(start, int) and not isinstance(start, bool):
        if start < 1:
            raise InvalidMessageError(
                f"start is {start}, a sequence is at least 1", details={"field": "start", "value": str(start)}
            )
        return
    if start not in ("new", "all"):
        raise InvalidMessageError(
            f"start is {start!r}: 'new', 'all', a sequence or a time", details={"field": "start", "value": str(start)}
        )


def check_durable(name: str, group: str | None, observer: bool, settings: DurableSettings | None) -> None:
    """Raises where a durable subscription cannot be opened as it is wished."""
    check_name("durable", name)
    if group is not None:
        raise InvalidMessageError(
            f"group is {group!r}: all who name the durable subscription {name!r} are one group already",
            details={"field": "group", "value": group},
        )
    if observer:
        raise InvalidMessageError(
            f"observer is set: whoever takes from the durable subscription {name!r} settles what it takes",
            details={"field": "observer", "value": "true"},
        )
    if settings is not None:
        settings.check()


def check_live(start: Start, settings: DurableSettings | None) -> None:
    """Raises InvalidMessageError where a live subscription is asked for with what only a durable one has."""
    for name, value, unset in (("start", start, "new"), ("settings", settings, None)):
        if value != unset:
            raise InvalidMessageError(
                f"{name} is {value!r}, but durable is not set: only a durable subscription has it",
                details={"field": name, "value": str(value)},
            )


def check_stored(
    stored: bool, ordering_key: str | None, deliver_at: datetime | None, deliver_after: float | None
) -> None:
    """Raises InvalidMessageError where a message cannot be published as it is wished."""
    if not stored:
        for name, value in (
            ("ordering_key", ordering_key),
            ("deliver_at", deliver_at),
            ("deliver_after", deliver_after),
        ):
            if value is not None:
                raise InvalidMessageError(
                    f"{name} is {value!s}: only a stored message has it (stored=True)",
                    details={"field": name, "value": str(value)},
                )
        return
    if ordering_key is not None and not 1 <= len(ordering_key.encode()) <= MAX_ORDERING_KEY_BYTES:
        raise InvalidMessageError(
            f"ordering_key has {len(ordering_key.encode())} bytes, it must have 1 to {MAX_ORDERING_KEY_BYTES}",
            details={"field": "ordering_key", "value": ordering_key[:64]},
        )
    if deliver_at is not None and deliver_after is not None:
        raise InvalidMessageError(
            "deliver_at and deliver_after are both set", details={"field": "deliver_after", "value": str(deliver_after)}
        )
    if deliver_at is not None:
        if deliver_at.tzinfo is None:
            raise InvalidMessageError(
                f"deliver_at is {deliver_at.isoformat()}, which has no time zone",
                details={"field": "deliver_at", "value": str(deliver_at)},
            )
        ahead = (deliver_at - datetime.now(UTC)).total_seconds()
        if ahead > MAX_DELIVER_AHEAD:
            check_between("deliver_at", ahead, 0, MAX_DELIVER_AHEAD, " s ahead")
    if deliver_after is not None:
        check_between("deliver_after", deliver_after, 0, MAX_DELIVER_AHEAD, " s")
