"""The words of the store: records, writes, changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from trunkline.records import RecordKind, check_filter_fields


class Facets(NamedTuple):
    """What filters ask for: of a record, None where its kind has no such field; of a filter, None where any will do.

    A named tuple, as are all values below that are made for each write: they cost a third of a frozen dataclass.
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
    """Whether a record with these facets passes the filter."""
    if filter is ANY:
        return True
    return all(value is None or value == actual for value, actual in zip(filter, facets, strict=True))


class Entry(NamedTuple):
    """A record as it is kept: its encoded body and the revision of its last write."""

    kind: RecordKind
    id: str
    revision: int
    body: bytes


class Head(NamedTuple):
    """What is known of a record without its body."""

    revision: int
    facets: Facets


class Put(NamedTuple):
    """Save a record whole. `expected` None: whatever is there; 0: there must be none; else it must have that."""

    kind: RecordKind
    id: str
    body: bytes
    facets: Facets
    expected: int | None = None


class Drop(NamedTuple):
    """Delete a record. `expected` None: whatever it is; else it must have that revision."""

    kind: RecordKind
    id: str
    expected: int | None = None


class Read(NamedTuple):
    """Read a record amid writes."""

    kind: RecordKind
    id: str


Operation = Put | Drop | Read
Transaction = Sequence[Operation]
"""Operations done in order: all of its writes happen, or none."""

Result = int | Entry | None
"""Of a Put its revision; of a Drop the deletion's revision, 0 where there was nothing; of a Read the record or None."""


class Change(NamedTuple):
    """One write that happened. `body` and `facets` are None for a deletion, `before` where the record was not there."""

    revision: int
    kind: RecordKind
    id: str
    body: bytes | None
    facets: Facets | None
    before: Head | None


@dataclass(frozen=True, slots=True)
class Page:
    """Some records of one kind in order of ids; `more` where others follow; `revision` is the store's at that time."""

    entries: list[Entry]
    more: bool
    revision: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """What an engine holds. `oldest` is the lowest revision whose later changes it can all tell."""

    revision: int
    oldest: int
    records: dict[RecordKind, int]


@dataclass(frozen=True, slots=True)
class History:
    """How many changes, and how many bytes of their bodies, are kept for watches that resume."""

    changes: int
    bytes: int
