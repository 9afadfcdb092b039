"""What the domain asks of encoded messages, which it does not read itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from trunkline.errors import TrunklineError
from trunklined.bus.dead_letters import DeadLetter


class Description(NamedTuple):
    """What an encoded message says of itself."""

    message_id: str
    message_type: str
    sender_id: str
    correlation_id: str


@dataclass(frozen=True, slots=True)
class LifeFormat:
    """Functions of the encoded events of a request's life; the wire side provides them.

    Attributes:
        accepted: the event that says who accepted it, and at which attempt.
        result: the event of a reply that was published: its channel, and the message.
        cancelled: the event that says who cancelled it, and why.
        stamp: what an event is completed with: its number, and when that was, in UNIX time.
        reply: the message that a result carries, for the request with an id.
        error: the error that a failure or a cancellation is to who waits for a reply alone, of the request with an id.
    """

    accepted: Callable[[str, int], bytes]
    result: Callable[[str, bytes], bytes]
    cancelled: Callable[[str, str], bytes]
    stamp: Callable[[int, float], bytes]
    reply: Callable[[bytes, str], bytes]
    error: Callable[[bytes, str], TrunklineError]


@dataclass(frozen=True, slots=True)
class MessageFormat:
    """Functions of encoded messages; the wire side provides them.

    Attributes:
        life: of the events of a request's life.
        describe: what a message says of itself.
        without_ttl: the message without its TTL, so that it does not expire.
        announcement: the message that tells of a dead letter, and how many there are.
    """

    life: LifeFormat
    describe: Callable[[bytes], Description]
    without_ttl: Callable[[bytes], bytes]
    announcement: Callable[[DeadLetter, int], bytes]
