"""The words of the store: records, writes, changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from trunkline.records import RecordKind, check_filter_fields
from trunklined.relay.journal import Arrival

RecordKey = tuple[RecordKind, str]
"""The kind and the id of a record."""


class Facets(NamedTuple):
    """The fields that filters compare. In a record, None: its kind has no such field; in a filter, None: any value.

    A named tuple, as are all values of this file that are made for each write: they cost a third of a frozen dataclass.
    """

    status: str | None = None
    type: str | None = None
    phase: str | None = None
    agent_id: str | None = None


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
    return Facets(**fields)


def matches(filter: Facets, facets: Facets) -> bool:
    """Returns whether a record with these facets passes a filter."""
    if filter is ANY:
        return True
    return all(value is None or value == actual for value, actual in zip(filter, facets, strict=True))


class Entry(NamedTuple):
    """A stored record: its encoded body and the revision of its last write."""

    kind: RecordKind
    id: str
    revision: int
    body: bytes


class Head(NamedTuple):
    """A stored record without its body."""

    revision: int
    facets: Facets


class Put(NamedTuple):
    """Saves a record. `expected`: the revision that the stored record must have; 0: no record; None: any or none.
    `publish`: messages that are put into the outbox with it."""

    kind: RecordKind
    id: str
    body: bytes
    facets: Facets
    expected: int | None = None
    publish: Sequence[Arrival] = ()


class Drop(NamedTuple):
    """Deletes a record. `expected`: the revision that the stored record must have; None: any or none. `publish`:
    messages that are put into the outbox with it, if there was a record."""

    kind: RecordKind
    id: str
    expected: int | None = None
    publish: Sequence[Arrival] = ()


class Read(NamedTuple):
    """Reads a record, after the writes that were submitted before."""

    kind: RecordKind
    id: str


Operation = Put | Drop | Read
Transaction = Sequence[Operation]
"""Operations that are applied in order: all writes of a transaction, or none."""


def messages_of(transaction: Transaction) -> list[Arrival]:
    """Returns the messages that a transaction publishes."""
    return [
        message
        for operation in transaction
        if not isinstance(operation, Read) and operation.publish
        for message in operation.publish
    ]


Result = int | Entry | None
"""The result of an operation. Put: its revision; Drop: the deletion's revision, or 0 if there was no record; Read: the
record or None."""


class Change(NamedTuple):
    """One committed write. `body` and `facets` are None for a deletion; `before` is None if there was no record."""

    revision: int
    kind: RecordKind
    id: str
    body: bytes | None
    facets: Facets | None
    before: Head | None


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
