"""ServiceMessage: the message of a MessageChannel."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Literal

from trunkline.message_channel.peer import Peer
from trunkline.text import safe_text

MessageKind = Literal["COMMAND", "STATUS"]
KINDS = ("COMMAND", "STATUS")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class ServiceMessage:
    """One message. Frozen: what a thread sent cannot change while another reads it.

    Args:
        sender: the name of its sender.
        type: "COMMAND" or "STATUS".
        payload: text, by custom JSON; passed on exactly.
        timestamp: when it was made; default now, in UTC. A naive one is kept as it is, and means this machine's time
            where it must become an instant (on the bus).

    Raises:
        ValueError: another type. TypeError: a field that is not of its type.
    """

    sender: str
    type: MessageKind
    payload: str
    timestamp: datetime = field(default_factory=_now)

    answer_token: ClassVar[int | None] = None
    """Set on a received request; see `PendingReplies`. No field: takes no part in equality."""

    peer: ClassVar[Peer | None] = None
    """The process that sent a message over a UNIX socket; None for one that came another way. No field either."""

    life: ClassVar[int | None] = None
    """Which life of its sender sent it, where a supervisor counts them. No field either; it reaches the owner of a
    channel, not the bus."""

    def __post_init__(self) -> None:
        if not isinstance(self.sender, str):
            raise TypeError(f"sender must be text, not {self.sender!r}")
        if self.type not in KINDS:
            raise ValueError(f"type must be 'COMMAND' or 'STATUS', not {self.type!r}")
        if not isinstance(self.payload, str):
            raise TypeError(f"payload must be text, not {type(self.payload).__name__}")
        if not isinstance(self.timestamp, datetime):
            raise TypeError(f"timestamp must be a datetime, not {self.timestamp!r}")

    def escaped(self) -> ServiceMessage:
        """Returns this message, or where its sender or payload is text that UTF-8 cannot say (lone surrogates), a copy
        with that escaped: what a channel between threads or processes passes on exactly, other borders do not take."""
        sender, payload = safe_text(self.sender), safe_text(self.payload)
        if sender is self.sender and payload is self.payload:
            return self
        escaped = copy(self)
        object.__setattr__(escaped, "sender", sender)
        object.__setattr__(escaped, "payload", payload)
        return escaped

    def with_token(self, token: int) -> ServiceMessage:
        """Marks this message as a request with this token, and returns it."""
        object.__setattr__(self, "answer_token", token)
        return self

    def with_peer(self, peer: Peer) -> ServiceMessage:
        """Sets the process that sent this message over a socket, and returns it."""
        object.__setattr__(self, "peer", peer)
        return self

    def with_life(self, life: int) -> ServiceMessage:
        """Sets which life of its sender sent it, and returns it."""
        object.__setattr__(self, "life", life)
        return self


Flat = tuple[str, MessageKind, str, datetime | str, int | None, Peer | None, int | None] | ServiceMessage
"""A message as it goes through a pipe."""


def flattened(message: ServiceMessage) -> Flat:
    """Returns a message as plain values, which are pickled in a third of the time; one of a derived class as it is."""
    if type(message) is not ServiceMessage:
        return message
    when = message.timestamp
    moment = when.isoformat() if when.tzinfo is UTC else when  # whatever else it is stays exactly that
    return message.sender, message.type, message.payload, moment, message.answer_token, message.peer, message.life


def restored(flat: Flat) -> ServiceMessage:
    """Returns the message that was flattened. It was checked when it was made, and is not again."""
    if isinstance(flat, ServiceMessage):
        return flat
    sender, kind, payload, moment, token, peer, life = flat
    message = object.__new__(ServiceMessage)
    when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    message.__dict__.update(sender=sender, type=kind, payload=payload, timestamp=when)
    if token is not None:
        message.with_token(token)
    if peer is not None:
        message.with_peer(peer)
    if life is not None:
        message.with_life(life)
    return message
