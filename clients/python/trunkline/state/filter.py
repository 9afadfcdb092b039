"""Which records a list or a watch is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from trunkline.errors import InvalidRecordError
from trunkline.limits import MAX_ID_LENGTH
from trunkline.models import AgentState, Record, WorkflowState
from trunkline.state.state_manager import Kind

KINDS: Final[tuple[Kind, ...]] = ("agent_state", "workflow_state", "task_result")
FIELDS: Final[Mapping[Kind, frozenset[str]]] = {
    "agent_state": frozenset({"status", "type", "agent_id"}),
    "workflow_state": frozenset({"status", "phase"}),
    "task_result": frozenset({"status", "agent_id"}),
}
"""What a filter may ask for."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Keeps the records whose fields equal those that are given; None: whatever it is."""

    status: str | None = None
    type: str | None = None
    phase: str | None = None
    agent_id: str | None = None

    def asked(self) -> dict[str, str]:
        """What is given, by name."""
        fields = (("status", self.status), ("type", self.type), ("phase", self.phase), ("agent_id", self.agent_id))
        return {name: value for name, value in fields if value}

    def check(self, kind: Kind) -> None:
        """Raises `InvalidRecordError` for a field that the kind does not have."""
        for name, value in self.asked().items():
            if name not in FIELDS[kind]:
                raise invalid(f"filter.{name}", f"is no field of {kind}", value)

    def matches(self, facets: Mapping[str, str]) -> bool:
        """Whether a record with these fields is kept."""
        return all(facets.get(name) == value for name, value in self.asked().items())


@dataclass(frozen=True, slots=True)
class Interest:
    """What a watch is about."""

    kinds: tuple[Kind, ...]
    id: str | None
    wanted: Filter

    def check(self) -> None:
        """Raises `InvalidRecordError` for an unknown kind, an id or a filter beside several kinds, and the like."""
        for kind in self.kinds:
            check_kind(kind)
        if self.id is not None:
            check_id(self.id)
        if len(set(self.kinds)) != 1 and (self.id is not None or self.wanted.asked()):
            raise invalid("kinds", f"names {len(self.kinds)} kinds, with an id or a filter it must be exactly one")
        for kind in self.kinds:
            self.wanted.check(kind)

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
    """Raises `InvalidRecordError` for a kind that there is not."""
    if kind not in FIELDS:
        raise invalid("kind", f"is {kind!r}, it must be one of {', '.join(KINDS)}", kind)


def check_id(id: str) -> str:
    """Returns a record's id unchanged, or raises `InvalidRecordError`: 1 to 512 characters that UTF-8 can write."""
    if not 1 <= len(id) <= MAX_ID_LENGTH:
        raise invalid("id", f"has {len(id)} characters, it must have 1 to {MAX_ID_LENGTH}", id[:80])
    if not id.isascii():
        try:
            id.encode()
        except UnicodeEncodeError as error:
            raise invalid("id", f"cannot be written as UTF-8: {error}", ascii(id)) from error
    return id


def check_revision(field: str, revision: int | None, lowest: int) -> int | None:
    """Returns a revision unchanged, or raises `InvalidRecordError`: it is an int64 from `lowest` on."""
    if revision is not None and not lowest <= revision < 2**63:
        raise invalid(field, f"is {revision}, it must be at least {lowest} and below 2**63", revision)
    return revision


def check_page_size(page_size: int | None) -> int | None:
    """Returns a page size unchanged, or raises `InvalidRecordError`: it is at least 1."""
    if page_size is not None and not 1 <= page_size < 2**31:
        raise invalid("page_size", f"is {page_size}, it must be at least 1 and below 2**31", page_size)
    return page_size


def invalid(field: str, problem: str, value: object = "") -> InvalidRecordError:
    """The error of a field: which, what is wrong with it, and what it was."""
    return InvalidRecordError(f"{field} {problem}", details={"field": field, "value": str(value)})
