"""The messages of a torture run: what each is can be told from its name, so that whoever gets it can check it."""

from __future__ import annotations

from typing import Final
from zlib import crc32

from tests.torture.ledger import Sent
from trunkline import AgentMessage, Backoff, DurableSettings

PATTERN: Final = "torture:>"
ACK_WAIT: Final = 1.0
LONG_SECONDS: Final = 1.5
"""What a long message keeps its handler busy: longer than its lease, which the client must extend."""
PROBE_SECONDS: Final = 0.05
"""What is published after the storm keeps a handler busy for so long, so that the others get some too."""
SETTINGS: Final = DurableSettings(ack_wait=ACK_WAIT, max_deliveries=1_000, backoff=Backoff(0.2, 1, 0.2))
"""No message becomes a dead letter because its subscribers are killed again and again."""

_PROBE: Final = "probe"
_FAILING, _LONG = 10, 40
"""Every so many-th message is one that fails at first, or is long."""


def channel_of(sent: Sent) -> str:
    """Where it is published."""
    publisher, lane, _ = sent.message_id.split(".")
    return f"torture:{publisher}:{lane}"


def compose(sent: Sent) -> AgentMessage:
    """The message that is published; the same each time."""
    return AgentMessage(
        message_id=sent.message_id,
        message_type="task_assignment",
        sender_id=sent.message_id.split(".")[0],
        payload={"number": sent.number, "key": sent.key or "", "text": _text(sent.message_id)},
    )


def probe(number: int) -> Sent:
    """What is published after the storm, on a lane that every subscription gets."""
    return Sent(f"{_PROBE}.u0.{number}", number, None)


def is_probe(message: AgentMessage) -> bool:
    """Whether it was published after the storm."""
    return message.message_id.startswith(f"{_PROBE}.")


def lane_of(message_id: str) -> str:
    """The publisher's lane."""
    return message_id.split(".")[1]


def key_of(message: AgentMessage) -> str | None:
    """Its ordering key."""
    return str(message.payload["key"]) or None


def number_of(message: AgentMessage) -> int:
    """Its place in its publisher's order."""
    number = message.payload["number"]
    assert isinstance(number, int)
    return number


def is_intact(message: AgentMessage) -> bool:
    """Whether its contents are those that were published."""
    return message.payload["text"] == _text(message.message_id)


def fails_at_first(message: AgentMessage) -> bool:
    """Whether its first attempt is to fail."""
    return number_of(message) % _FAILING == 3


def is_long(message: AgentMessage) -> bool:
    """Whether its handler is to take longer than its lease."""
    return number_of(message) % _LONG == 7


def _text(message_id: str) -> str:
    return f"{crc32(message_id.encode()):08x}" * (1 + crc32(message_id.encode()) % 40)
