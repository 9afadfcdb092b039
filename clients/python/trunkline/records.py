"""Records of the state store, as both sides speak of them: their kinds, what a filter may ask for, what is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final, Literal, cast

from trunkline.errors import InvalidChannelError, InvalidMessageError, InvalidRecordError
from trunkline.limits import MAX_BATCH_OPERATIONS, MAX_ID_LENGTH, MAX_WRITE_MESSAGES

Kind = Literal["agent_state", "workflow_state", "task_result"]
"""What a kind is called in the client's API and by people."""


class RecordKind(IntEnum):
    """The kinds of records. The numbers are those of `RecordKind` in state.proto, and those in a store's file."""

    AGENT_STATE = 1
    WORKFLOW_STATE = 2
    TASK_RESULT = 3

    @property
    def label(self) -> Kind:
        """The name of the kind, such as "agent_state"."""
        return cast("Kind", self.name.lower())


RECORD_KINDS: Final[Mapping[str, RecordKind]] = {kind.label: kind for kind in RecordKind}
"""The kinds by their labels."""

FILTER_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    RecordKind.AGENT_STATE.label: frozenset({"status", "type", "agent_id"}),
    RecordKind.WORKFLOW_STATE.label: frozenset({"status", "phase"}),
    RecordKind.TASK_RESULT.label: frozenset({"status", "agent_id"}),
}
"""The fields that a filter may ask for, by the label of the kind."""


def invalid_record(field: str, problem: str, value: object = "") -> InvalidRecordError:
    """Makes the error of one field: its name, what is wrong with it, and its value."""
    return InvalidRecordError(f"{field} {problem}", details={"field": field, "value": str(value)})


def check_record_id(field: str, id: str) -> str:
    """Returns an id unchanged, or raises `InvalidRecordError`: 1 to 512 characters that UTF-8 can write."""
    if not id:
        raise invalid_record(field, "is empty")
    if len(id) > MAX_ID_LENGTH:
        raise invalid_record(field, f"has {len(id)} characters, at most {MAX_ID_LENGTH} are allowed", id[:80])
    if not id.isascii():
        try:
            id.encode()
        except UnicodeEncodeError as error:
            raise invalid_record(field, f"cannot be written as UTF-8: {error}", ascii(id)) from error
    return id


def check_filter_fields(kind: str, fields: Mapping[str, str]) -> None:
    """Raises `InvalidRecordError` for a field that records of this kind do not have."""
    for name, value in fields.items():
        if name not in FILTER_FIELDS[kind]:
            raise invalid_record(f"filter.{name}", f"is no field of {kind}", value)


def check_single_kind(kinds: Iterable[int | str]) -> None:
    """Raises `InvalidRecordError` unless a watch with an id or a filter names exactly one kind; again is no other."""
    named = list(kinds)
    if len(set(named)) != 1:
        raise invalid_record("kinds", f"names {len(named)} kinds, with an id or a filter it must be exactly one")


def check_batch_size(count: int) -> None:
    """Raises `InvalidRecordError` unless a batch has 1 to 10,000 operations."""
    if not 1 <= count <= MAX_BATCH_OPERATIONS:
        raise invalid_record("operations", f"has {count} entries, it must have 1 to {MAX_BATCH_OPERATIONS}", count)


def invalid_publish(index: int, error: InvalidChannelError | InvalidMessageError) -> InvalidRecordError:
    """Makes the error of a write whose message number `index` the bus would refuse, and why."""
    field = f"publish[{index}].{error.details.get('field', 'channel')}"
    return InvalidRecordError(
        f"{field}: {error.message}", details={**error.details, "field": field, "value": error.details.get("value", "")}
    )


def check_write_messages(count: int) -> None:
    """Raises `InvalidRecordError` where one write carries more than 1,000 messages."""
    if count > MAX_WRITE_MESSAGES:
        raise invalid_record("publish", f"has {count} entries, at most {MAX_WRITE_MESSAGES} are allowed", count)
