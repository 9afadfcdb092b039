"""What the domain asks of encoded messages, which it does not read itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from trunklined.bus.dead_letters import DeadLetter


class Description(NamedTuple):
    """What an encoded message says of itself."""

    message_id: str
    message_type: str
    sender_id: str
    correlation_id: str


@dataclass(frozen=True, slots=True)
class MessageFormat:
    """Functions of encoded messages; the wire side provides them.

    Attributes:
        describe: what a message says of itself.
        without_ttl: the message without its TTL, so that it does not expire.
        announcement: the message that tells of a dead letter, and how many there are.
    """

    describe: Callable[[bytes], Description]
    without_ttl: Callable[[bytes], bytes]
    announcement: Callable[[DeadLetter, int], bytes]
