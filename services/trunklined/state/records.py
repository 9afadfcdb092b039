"""The words of the store: records, writes, changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from trunkline.records import RecordKind, check_filter_fields
from trunklined.relay.journal import Arrival

RecordKey = tuple[RecordKind, str]
"""The kind and the id of a record."""


class Facets(NamedTuple):
    """The fields that filters compare. In a record, None: its kind has no such field; in a filter, None: any value.
    `agent_id` of a lease is its holder. `capability` of a record: all of its capabilities, see `join_capabilities`.

    A named tuple, as are all values of this file that are made for each write: they cost a third of a frozen dataclass.
    """

    status: str | None = None
    type: str | None = None
    phase: str | None = None
    agent_id: str | None = None
    capability: str | None = None


ANY: Final = Facets()
"""The filter that every record matches."""


def make_facets(kinds: Sequence[RecordKind], fields: Mapping[str, str]) -> Facets:
    """Makes the filter that asks for some fields, by name; `ANY` where it asks for none.

    Raises:
        InvalidRecordError: records of one of the kinds have no such field.
    """
    if not fields:
        return ANY
    for kind in kinds:
        check_filter_fields(kind.label, fields)
    facets = Facets(**fields)
    return facets if facets.capability is None else facets._replace(capability=join_capabilities([facets.capability]))


def join_capabilities(capabilities: Sequence[str]) -> str:
    """Returns capabilities as one text in which each stands between line ends, which none of them has."""
    return "".join(f"\n{each}\n" for each in capabilities)


def matches(filter: Facets, facets: Facets) -> bool:
    """Returns whether a record with these facets passes a filter."""
    if filter is ANY:
        return True
    *wanted, capability = filter
    if capability is not None and capability not in (facets.capability or ""):
        return False
    return all(value is None or value == actual for value, actual in zip(wanted, facets[:-1], strict=True))


class Written(NamedTuple):
    """Who made a write, and when: UNIX time in milliseconds. `by` is empty where nobody did: a TTL passed."""

    by: str = ""
    at_ms: int = 0


UNKNOWN: Final = Written()
"""Of a write that was kept by a version that did not note it."""


class Entry(NamedTuple):
    """A stored record: its encoded body, the revision of its last write, and whose that was."""

    kind: RecordKind
    id: str
    revision: int
    body: bytes
    written: Written = UNKNOWN

    @property
    def size(self) -> int:
        """Bytes that an answer has of it, without tags, lengths and numbers."""
        by = self.written.by
        return len(self.body) + (len(by) if by.isascii() else len(by.encode()))


class Term(NamedTuple):
    """How long a record stays. `lease`: the number of the lease that it ends with, 0: none; `ttl_ms`: its TTL, 0: none;
    `expires_at_ms`: UNIX time of its end as far as is stored, 0: not stored, it has its whole TTL after a restart."""

    lease: int = 0
    ttl_ms: int = 0
    expires_at_ms: int = 0


FOR_EVER: Final = Term()


class Head(NamedTuple):
    """A stored record without its body."""

    revision: int
    facets: Facets
    term: Term = FOR_EVER


class Hold(NamedTuple):
    """A lease as its holder names it."""

    name: str
    number: int


class Put(NamedTuple):
    """Saves a record. `expected`: the revision that the stored record must have; 0: no record; None: any or none.
    `publish`: messages that are put into the outbox with it; `lease`: the lease that it ends with; `ttl_ms`: its TTL,
    0: none; `fence`: the lease that must be held; `writer`: who saves it."""

    kind: RecordKind
    id: str
    body: bytes
    facets: Facets
    expected: int | None = None
    publish: Sequence[Arrival] = ()
    lease: Hold | None = None
    ttl_ms: int = 0
    fence: Hold | None = None
    writer: str = ""


class Drop(NamedTuple):
    """Deletes a record. `expected`: the revision that the stored record must have; None: any or none. `publish`:
    messages that are put into the outbox with it, if there was a record. `fence`: the lease that must be held.
    `writer`: who deletes it."""

    kind: RecordKind
    id: str
    expected: int | None = None
    publish: Sequence[Arrival] = ()
    fence: Hold | None = None
    writer: str = ""


class Touch(NamedTuple):
    """Begins a record's TTL anew. `ttl_ms`: its new TTL; 0: the one that it has."""

    kind: RecordKind
    id: str
    ttl_ms: int = 0


class End(NamedTuple):
    """Deletes a record whose TTL has passed, if it still has this revision and `is_due` still says so."""

    kind: RecordKind
    id: str
    revision: int
    is_due: Callable[[], bool]


class Read(NamedTuple):
    """Reads a record, after the writes that were submitted before."""

    kind: RecordKind
    id: str


CARRIERS: Final = (Put, Drop)
"""The operations that may carry messages and name a fence."""

Operation = Put | Drop | Read | Touch | End
Transaction = Sequence[Operation]
"""Operations that are applied in order: all writes of a transaction, or none."""


def messages_of(transaction: Transaction) -> list[Arrival]:
    """Returns the messages that a transaction publishes."""
    return [
        message
        for operation in transaction
        if isinstance(operation, CARRIERS) and operation.publish
        for message in operation.publish
    ]


Result = int | Entry | None
"""The result of an operation. Put: its revision; Drop, End: the deletion's revision, or 0 if there was none; Read: the
record or None; Touch: the record's revision, or 0 if there is none."""


class Reason(IntEnum):
    """Why a record is no more. The numbers are those of `EndReason` in state.proto, and those in a store's file."""

    DELETED = 1
    EXPIRED = 2
    LEASE_ENDED = 3


class Change(NamedTuple):
    """One committed write. `body` and `facets` are None for a deletion; `before` is None if there was no record.
    `term` is that of a save, `reason` that of a deletion."""

    revision: int
    kind: RecordKind
    id: str
    body: bytes | None
    facets: Facets | None
    before: Head | None
    term: Term = FOR_EVER
    reason: int = Reason.DELETED
    written: Written = UNKNOWN


@dataclass(frozen=True, slots=True)
class Page:
    """Records of one kind in order of ids. `more`: others follow; `revision`: the store's at that time."""

    entries: list[Entry]
    more: bool
    revision: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """The revision and the record counts of an engine. `oldest`: the lowest revision that a watch can resume after."""

    revision: int
    oldest: int
    records: dict[RecordKind, int]


@dataclass(frozen=True, slots=True)
class History:
    """The bounds of the stored changes, in number and in bytes of bodies; beyond either the oldest are removed."""

    changes: int
    bytes: int
