"""The keys of a store in Redis, and how records are written in them.

All keys are in one slot, so that one script can write all of them in one step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from trunkline.errors import StorageError
from trunkline.records import RecordKind
from trunklined.redis.target import Target
from trunklined.state.records import (
    FOR_EVER,
    UNKNOWN,
    Change,
    Entry,
    Facets,
    Head,
    Reason,
    RecordKey,
    Term,
    Written,
)

ROOM: Final = "state"
FORMAT: Final = 2
OLDEST: Final = 1
"""The oldest format that is read, too: of one that did not note who writes."""

TYPES: Final[Mapping[str, str]] = {
    "store": "hash",
    "heads": "hash",
    "bodies": "hash",
    "ends": "zset",
    "bound": "zset",
    "log": "stream",
    "touches": "stream",
    "outbox": "stream",
    "sent": "hash",
    "refused": "stream",
    **{f"ids:{kind.value}": "zset" for kind in RecordKind},
}
"""The type of each key.

store    the revision, the oldest that a watch can resume after, the counts
heads    of each record all but its body
bodies   of each record its revision, who wrote it and when, and its body
ends     when each record with a TTL, and each lease, ends, by Redis's clock in milliseconds
bound    the number of the lease that a record ends with
log      the changes; the id of an entry is its revision
touches  what was renewed without a change
outbox   messages that the bus does not have yet
sent     when they were first sent without an answer since
refused  messages that the bus will never take
ids:…    the ids of one kind, in order
"""


class Keys(NamedTuple):
    """The names of the keys of one store."""

    store: str
    heads: str
    bodies: str
    ends: str
    bound: str
    log: str
    touches: str
    outbox: str
    sent: str
    refused: str
    ids: tuple[str, ...]
    """By the number of the kind, less one."""


def keys_of(target: Target) -> Keys:
    """Returns the names of a store's keys."""
    ids = tuple(target.key(ROOM, f"ids:{kind.value}") for kind in RecordKind)
    return Keys(**{name: target.key(ROOM, name) for name in Keys._fields if name != "ids"}, ids=ids)


def field_of(key: RecordKey) -> str:
    """Returns the field of a record in the hashes: the number of its kind, and its id."""
    return f"{int(key[0])}:{key[1]}"


def key_of(field: bytes) -> RecordKey:
    """Returns the record of a field."""
    kind, _, id = field.decode().partition(":")
    return RecordKind(int(kind)), id


_encode = msgspec.msgpack.Encoder().encode
_decode_facets = msgspec.msgpack.Decoder(tuple[int, Facets]).decode
_KEPT: Final = re.compile(rb"(\d+)(?: |:(\d+):(\d+):)")
"""What stands before a body: its revision, and, but for a format that had no more, when it was written and how many
bytes say by whom, which follow."""


def believed(head: Head | None) -> str:
    """Returns how a head begins in Redis, up to what changes without a new revision; "": no record."""
    return "" if head is None else f"{head.revision} {head.term.lease} {head.term.ttl_ms} "


def tail_of(facets: Facets, term: Term, size: int) -> bytes:
    """Returns a head without its revision: the lease, the TTL, then the size of the body with the facets."""
    return b"%d %d %b" % (term.lease, term.ttl_ms, _encode((size, facets)))


def head_of(text: bytes) -> Head:
    """Returns a head as Redis has it."""
    return sized_head(text)[0]


def sized_head(text: bytes) -> tuple[Head, int]:
    """Returns a head as Redis has it, and the size of the body."""
    try:
        revision, lease, ttl_ms, rest = text.split(b" ", 3)
        size, facets = _decode_facets(rest)
        term = Term(int(lease), int(ttl_ms)) if lease != b"0" or ttl_ms != b"0" else FOR_EVER
        return Head(int(revision), facets, term), size
    except (ValueError, msgspec.MsgspecError) as error:
        raise StorageError(f"a record's head in Redis is damaged: {text[:64]!r}") from error


def head_or_none(text: bytes | None) -> Head | None:
    """Returns the head of a record as Redis has it; None for nothing and for nothing in it."""
    return head_of(text) if text else None


def entry_of(key: RecordKey, text: bytes | None) -> Entry | None:
    """Returns a record from its body as Redis has it; None: there is none."""
    if text is None:
        return None
    found = _KEPT.match(text)
    if found is None:
        raise StorageError(f"a record's body in Redis is damaged: {text[:64]!r}")
    revision, at_ms, length = found.groups(b"0")
    by, body = found.end(), found.end() + int(length)
    return Entry(*key, int(revision), text[body:], Written(text[by:body].decode(), int(at_ms)))


def mark_of(written: Written) -> bytes:
    """Returns who wrote and when, as it stands between the revision and the body, and in the log."""
    by = written.by.encode()
    return b"%d:%d:%b" % (written.at_ms, len(by), by)


class Logged(NamedTuple):
    """An entry of the log: a change, the commit that made it, and whether that put messages into the outbox."""

    change: Change
    commit: bytes
    published: bool


def revision_of(id: bytes) -> int:
    """Returns the revision that an entry of the log has, by its id."""
    return int(id.partition(b"-")[0])


def logged_of(entry: tuple[bytes, Mapping[bytes, bytes]]) -> Logged:
    """Returns an entry of the log."""
    id, fields = entry
    field, before, commit, *said, head, body = fields.values()
    reason, published, written = _read_said(*said)
    revision = revision_of(id)
    kind, name = key_of(field)
    if head:
        now = head_of(head)
        change = Change(revision, kind, name, body, now.facets, head_or_none(before), now.term, written=written)
    else:
        change = Change(revision, kind, name, None, None, head_or_none(before), FOR_EVER, reason, written)
    return Logged(change, commit, published)


@lru_cache(maxsize=64)
def _read_said(said: bytes, published: bytes | None = None) -> tuple[Reason, bool, Written]:
    """Returns why a record ended, whether messages were put into the outbox, and whose write it was: what changes of
    one commit say alike. Format 1 had the first two, each in a field of its own."""
    if published is not None:
        return Reason(int(said)), published == b"1", UNKNOWN
    reason, published, at_ms, _, by = said.split(b":", 4)
    return Reason(int(reason)), published == b"1", Written(by.decode(), int(at_ms))


def touched_of(entry: tuple[bytes, Mapping[bytes, bytes]]) -> tuple[RecordKey, Head]:
    """Returns an entry of the touches."""
    field, head = entry[1].values()
    return key_of(field), head_of(head)
