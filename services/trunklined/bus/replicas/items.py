"""What replicas send each other: frames of items, as MessagePack. Messages in them stay as they were published.

While one replica after the other is restarted as a newer version, both versions speak to each other. So an item changes
only by fields behind the others, with defaults; a tag is used once, also when its kind is gone; and a kind that is not
known is passed over: what is new may be sent to all, and must be what an older replica can do without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, get_args

import msgspec
from msgspec import Struct


class Entry(Struct, array_like=True, frozen=True):
    """How many subscribe to a pattern in a group (empty: in none) at a replica, and whether one of them could answer
    requests. No members: nobody does any more."""

    pattern: str
    group: str
    members: int
    answers: bool


class Hello(Struct, array_like=True, tag=1):
    """The first item to a replica: where this one serves, and all interest. `welcome`: it answers one."""

    name: str
    interest: list[Entry]
    version: int
    welcome: bool


class Interest(Struct, array_like=True, tag=2):
    """What changed since the version before."""

    version: int
    changes: list[Entry]


class Known(Struct, array_like=True, tag=3):
    """The other's interest is known up to a version."""

    version: int


class Credit(Struct, array_like=True, tag=4):
    """How many messages of a group the other may send in all; None: any number."""

    pattern: str
    group: str
    allowed: int | None


class Asked(Struct, array_like=True):
    """One of the messages is a request that waits for an answer. The times are seconds that are left, or signs of life
    are expected in; `credit` None: parts are not read."""

    index: int
    request_id: str
    message_id: str
    timeout: float
    idle_timeout: float | None
    repeatable: bool
    outlives_asker: bool
    traceback: bool
    attempts: int
    credit: int | None


class Messages(Struct, array_like=True, tag=5):
    """A message batch. A group: for members of that; none: for all who are in none."""

    channel: str
    level: int
    messages: list[bytes]
    expires_at: float | None
    first_sequence: int
    pattern: str
    group: str
    requests: list[Asked]


class Event(Struct, array_like=True):
    """See `trunklined.bus.requests.Said`."""

    kind: str
    encoded: bytes
    responder: str
    fraction: float | None


class Answered(Struct, array_like=True, tag=6):
    """What a responder says of a request."""

    request_id: str
    events: list[Event]


class Replied(Struct, array_like=True, tag=7):
    """A reply to a request was published."""

    request_id: str
    channel: str
    message: bytes


class GivenBack(Struct, array_like=True, tag=8):
    """Nobody there has a request any more. `begun`: somebody may have begun with it."""

    request_id: str
    begun: bool
    responder: str


class Refused(Struct, array_like=True, tag=9):
    """A request cannot be taken: another has its correlation id, or too many are pending."""

    request_id: str
    error_code: str
    text: str
    details: dict[str, str | int | float | bool | None]


class CalledOff(Struct, array_like=True, tag=10):
    """A request need not be answered any more."""

    request_id: str
    by: str
    reason: str


class PartCredit(Struct, array_like=True, tag=11):
    """So many more parts of a request's answer may be sent."""

    request_id: str
    parts: int


class Alive(Struct, array_like=True, tag=12):
    """Says nothing: it shows whether anybody takes it."""


class Candidate(Struct, array_like=True):
    """See `trunklined.bus.requests.Correlated`."""

    correlation_id: str
    message_id: str
    message: bytes


class Candidates(Struct, array_like=True, tag=13):
    """Messages that may answer a request."""

    channel: str
    messages: list[Candidate]


class Cancel(Struct, array_like=True, tag=14):
    """A request is cancelled. `call` 0: no answer is expected."""

    call: int
    request_id: str
    by: str
    reason: str


class Cancelled(Struct, array_like=True, tag=15):
    """Whether such a request was pending."""

    call: int
    found: bool


class Lagged(Struct, array_like=True, tag=16):
    """So many messages of a group were dropped before they were sent."""

    pattern: str
    group: str
    count: int


class Forgotten(Struct, array_like=True, tag=18):
    """A request was answered elsewhere; whoever works on it is not called off."""

    request_id: str


class Question(Struct, array_like=True, tag=19):
    """The other is asked for its own part of what people ask of all replicas; see `Home.answer`."""

    call: int
    name: str
    request: bytes


class Answer(Struct, array_like=True, tag=20):
    """Its part, encoded. None: it does not know the question, or failed over it."""

    call: int
    encoded: bytes | None


class Flush(Struct, array_like=True, tag=23):
    """Asked is when all messages are sent that wait for the sender of this now."""

    call: int


class Flushed(Struct, array_like=True, tag=24):
    """They are: what was published there before is in front of this."""

    call: int


class Goodbye(Struct, array_like=True, tag=17):
    """The last item of a replica."""


Item = (
    Hello
    | Interest
    | Known
    | Credit
    | Messages
    | Answered
    | Replied
    | GivenBack
    | Refused
    | CalledOff
    | PartCredit
    | Alive
    | Candidates
    | Cancel
    | Cancelled
    | Lagged
    | Forgotten
    | Question
    | Answer
    | Flush
    | Flushed
    | Goodbye
)


class Frame(Struct, array_like=True):
    """What one replica sends another at once."""

    sender: str
    items: list[Item]


class _FrameOfRaw(Struct, array_like=True):
    sender: str
    items: list[msgspec.Raw]


class _Kind(Struct, array_like=True):
    tag: int


_KNOWN: Final = frozenset(kind.__struct_config__.tag for kind in get_args(Item))

encode_frame: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Frame).decode
_decode_raw: Final = msgspec.msgpack.Decoder(_FrameOfRaw).decode
_decode_kind: Final = msgspec.msgpack.Decoder(_Kind).decode
_decode_item: Final[Callable[[msgspec.Raw], Item]] = msgspec.msgpack.Decoder(Item).decode


def decode_frame(encoded: bytes) -> Frame:
    """Decodes a frame, without items of kinds that are not known here.

    Raises:
        msgspec.DecodeError: it is none.
    """
    try:
        return _decode(encoded)
    except msgspec.ValidationError:
        frame = _decode_raw(encoded)
        known = [item for item in frame.items if _decode_kind(item).tag in _KNOWN]
        if len(known) == len(frame.items):
            raise
        return Frame(frame.sender, [_decode_item(item) for item in known])
