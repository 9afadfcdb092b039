"""The synchronous DurableMessage."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from pydantic import PrivateAttr

from trunkline.bus.durable import DurableMessage as AsyncDurableMessage
from trunkline.models import AgentMessage
from trunkline.models.fields import fill_model
from trunkline.models.lazy import known_fields
from trunkline.models.message import MESSAGE_FIELDS

Wait = Callable[[Coroutine[Any, Any, None]], None]


class DurableMessage(AgentMessage):
    """`trunkline.DurableMessage`, synchronous; see there."""

    _message: AsyncDurableMessage = PrivateAttr()
    _wait: Wait = PrivateAttr()

    @property
    def sequence(self) -> int:
        """See `trunkline.DurableMessage.sequence`."""
        return self._message.sequence

    @property
    def attempt(self) -> int:
        """See `trunkline.DurableMessage.attempt`."""
        return self._message.attempt

    @property
    def channel(self) -> str:
        """See `trunkline.DurableMessage.channel`."""
        return self._message.channel

    @property
    def ordering_key(self) -> str | None:
        """See `trunkline.DurableMessage.ordering_key`."""
        return self._message.ordering_key

    @property
    def settled(self) -> bool:
        """See `trunkline.DurableMessage.settled`."""
        return self._message.settled

    def ack(self) -> None:
        """See `trunkline.DurableMessage.ack`."""
        self._wait(self._message.ack())

    def nak(self, error: str = "", *, delay: float | None = None) -> None:
        """See `trunkline.DurableMessage.nak`."""
        self._wait(self._message.nak(error, delay=delay))

    def terminate(self, reason: str) -> None:
        """See `trunkline.DurableMessage.terminate`."""
        self._wait(self._message.terminate(reason))

    def extend(self, seconds: float | None = None) -> None:
        """See `trunkline.DurableMessage.extend`."""
        self._wait(self._message.extend(seconds))

    def release(self) -> None:
        """See `trunkline.DurableMessage.release`."""
        self._wait(self._message.release())


def synchronous(message: AsyncDurableMessage, wait: Wait) -> DurableMessage:
    """A message as a synchronous face hands it out; it has the same fields.

    Args:
        wait: how the face waits.
    """
    face: DurableMessage = DurableMessage.__new__(DurableMessage)
    fill_model(face, dict(known_fields(message)), MESSAGE_FIELDS, {"_message": message, "_wait": wait})
    return face
