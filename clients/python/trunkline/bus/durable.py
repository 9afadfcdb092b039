"""DurableMessage: a message that a durable subscription handed out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from pydantic import PrivateAttr

from trunkline.delivery import check_between
from trunkline.errors import InvalidMessageError
from trunkline.limits import MAX_ACK_WAIT, MAX_NAK_DELAY, MIN_ACK_WAIT
from trunkline.models import AgentMessage
from trunkline.text import safe_text


class Settler(Protocol):
    """Where a handed-out message is settled: what stands behind `DurableMessage`."""

    async def ack(self, message: DurableMessage) -> None: ...

    async def nak(self, message: DurableMessage, error: str, delay: float | None) -> None: ...

    async def terminate(self, message: DurableMessage, reason: str) -> None: ...

    async def extend(self, message: DurableMessage, seconds: float | None) -> None: ...

    async def release(self, message: DurableMessage) -> None: ...


class DurableMessage(AgentMessage):
    """A message that a durable subscription handed out: an `AgentMessage` that can be settled.

    Where nothing is said, the client settles it: a callback that returns acks, one that raises naks with its error; the
    next step of an iterator acks the message before. What was settled already is left as it is.
    """

    _attempt: int = PrivateAttr(default=1)
    _settler: Settler | None = PrivateAttr(default=None)
    _settled: bool = PrivateAttr(default=False)

    @property
    def attempt(self) -> int:
        """Delivery attempt, from 1: above 1, a subscriber may have begun with it before."""
        private = self.__pydantic_private__
        return private["_attempt"] if private else 1

    @property
    def settled(self) -> bool:
        """Whether it was acked, nakked or terminated here, or its lease was lost."""
        private = self.__pydantic_private__
        return private["_settled"] if private else False

    async def ack(self) -> None:
        """It is done. Sent at once; what the service refuses as stale is logged."""
        await self._hand("ack")

    async def nak(self, error: str = "", *, delay: float | None = None) -> None:
        """It failed: try again, after `delay` seconds (0 to 7 days) or, unset, as the backoff says."""
        if delay is not None:
            check_between("delay", delay, 0, MAX_NAK_DELAY, " s")
        await self._hand("nak", safe_text(error), delay)

    async def terminate(self, reason: str) -> None:
        """It can never be done: it becomes a dead letter now."""
        await self._hand("terminate", safe_text(reason))

    async def extend(self, seconds: float | None = None) -> None:
        """It is still at work: leases it for `seconds` (0.1 to 1 day) from now. The client does so by itself for all
        that it holds."""
        if seconds is not None:
            check_between("seconds", seconds, MIN_ACK_WAIT, MAX_ACK_WAIT, " s")
        await self._hand("extend", seconds)

    async def release(self) -> None:
        """Gives it back as if it had not been handed out: the next subscriber gets it at once, and no attempt is
        counted."""
        await self._hand("release")

    async def _hand(self, verb: str, *words: Any) -> None:
        if self._settler is None:
            raise InvalidMessageError(
                f"message {self.message_id!r} was not handed out by a durable subscription",
                details={"field": "message", "value": self.message_id},
            )
        call: Callable[..., Awaitable[None]] = getattr(self._settler, verb)
        await call(self, *words)
