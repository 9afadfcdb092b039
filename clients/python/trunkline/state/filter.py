"""The filters of lists and watches, and the checks of their arguments."""

from __future__ import annotations

from dataclasses import dataclass

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
    """The values that fields of a record must have; None: any value."""

    status: str | None = None
    type: str | None = None
    phase: str | None = None
    agent_id: str | None = None
    capability: str | None = None

    def values(self) -> dict[str, str]:
        """Returns the values that are set, by the names of their fields."""
        values = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in values if value}

    def check(self, kind: Kind) -> None:
        """Raises `InvalidRecordError` if a field is set that records of the kind do not have."""
        check_filter_fields(kind, self.values())


@dataclass(frozen=True, slots=True)
class WatchFilter:
    """The records that a watch reports. No kinds: all kinds; no id: every record of the kinds."""

    kinds: tuple[Kind, ...]
    id: str | None
    fields: Filter

    def check(self) -> None:
        """Raises `InvalidRecordError` for an unknown kind, an invalid id, or an id or a filter beside several kinds."""
        for kind in self.kinds:
            check_kind(kind)
        if self.id is not None:
            check_record_id("id", self.id)
        if self.id is not None or self.fields.values():
            check_single_kind(self.kinds)
        for kind in self.kinds:
            self.fields.check(kind)


def check_kind(kind: str) -> None:
    """Raises `InvalidRecordError` for an unknown kind."""
    if kind not in RECORD_KINDS:
        raise invalid_record("kind", f"is {kind!r}, it must be one of {', '.join(RECORD_KINDS)}", kind)


def check_revision(field: str, revision: int | None, lowest: int) -> int | None:
    """Returns a revision unchanged, or raises `InvalidRecordError` if it is below `lowest` or no int64."""
    if revision is not None and not lowest <= revision < 2**63:
        raise invalid_record(field, f"is {revision}, it must be at least {lowest} and below 2**63", revision)
    return revision


def check_page_size(page_size: int | None) -> int | None:
    """Returns a page size unchanged, or raises `InvalidRecordError` if it is below 1 or no int32."""
    if page_size is not None and not 1 <= page_size < 2**31:
        raise invalid_record("page_size", f"is {page_size}, it must be at least 1 and below 2**31", page_size)
    return page_size
