"""Which records a list or a watch is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trunkline.models import AgentState, Record, WorkflowState
from trunkline.records import (
    RECORD_KINDS,
    Kind,
    check_filter_fields,
    check_record_id,
    check_single_kind,
    invalid_record,
)


@dataclass(frozen=True, slots=True)
class Filter:
    """Keeps the records whose fields equal those that are given; None: whatever it is."""

    status: str | None = None
    type: str | None = None
    phase: str | None = None
    agent_id: str | None = None

    def values(self) -> dict[str, str]:
        """The fields that are asked for, by name."""
        fields = (("status", self.status), ("type", self.type), ("phase", self.phase), ("agent_id", self.agent_id))
        return {name: value for name, value in fields if value}

    def check(self, kind: Kind) -> None:
        """Raises `InvalidRecordError` for a field that the kind does not have."""
        check_filter_fields(kind, self.values())

    def matches(self, facets: Mapping[str, str]) -> bool:
        """Whether a record with these fields is kept."""
        return all(facets.get(name) == value for name, value in self.values().items())


@dataclass(frozen=True, slots=True)
class WatchFilter:
    """Which records a watch is about: no kinds, all kinds; no id, every record of the kinds."""

    kinds: tuple[Kind, ...]
    id: str | None
    fields: Filter

    def check(self) -> None:
        """Raises `InvalidRecordError` for an unknown kind, an id or a filter beside several kinds, and the like."""
        for kind in self.kinds:
            check_kind(kind)
        if self.id is not None:
            check_record_id("id", self.id)
        if self.id is not None or self.fields.values():
            check_single_kind(self.kinds)
        for kind in self.kinds:
            self.fields.check(kind)

    def names(self, kind: Kind, id: str) -> bool:
        """Whether it is about this record, whatever its fields are."""
        return (not self.kinds or kind in self.kinds) and self.id in (None, id)


def facets_of(record: Record) -> dict[str, str]:
    """The fields of a record that filters ask for."""
    if isinstance(record, AgentState):
        return {"status": str(record.status), "type": str(record.agent_type), "agent_id": record.agent_id}
    if isinstance(record, WorkflowState):
        return {"status": str(record.status), "phase": str(record.current_phase)}
    return {"status": str(record.status), "agent_id": record.agent_id}


def check_kind(kind: str) -> None:
    """Raises `InvalidRecordError` for an unknown kind."""
    if kind not in RECORD_KINDS:
        raise invalid_record("kind", f"is {kind!r}, it must be one of {', '.join(RECORD_KINDS)}", kind)


def check_revision(field: str, revision: int | None, lowest: int) -> int | None:
    """Returns a revision unchanged, or raises `InvalidRecordError`: it is an int64 from `lowest` on."""
    if revision is not None and not lowest <= revision < 2**63:
        raise invalid_record(field, f"is {revision}, it must be at least {lowest} and below 2**63", revision)
    return revision


def check_page_size(page_size: int | None) -> int | None:
    """Returns a page size unchanged, or raises `InvalidRecordError`: it is at least 1."""
    if page_size is not None and not 1 <= page_size < 2**31:
        raise invalid_record("page_size", f"is {page_size}, it must be at least 1 and below 2**31", page_size)
    return page_size
