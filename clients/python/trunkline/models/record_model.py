"""RecordModel: what the records of the StateService share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Any, Final

from trunkline.models.fields import fill_model
from trunkline.models.json import is_plain
from trunkline.models.lazy import LazyModel

REFUSED: Final = object()
"""Says of a value that only validation can say what becomes of it."""

Take = Callable[[Any], Any]
"""Returns what validation would make of a value, or `REFUSED`."""


class RecordModel(LazyModel):
    """A model that the StateService keeps. `revision`, `written_by` and `written_at` are no fields: they take no part
    in equality and dumps."""

    _revision: int | None = None
    _written_by: str | None = None
    _written_at: datetime | None = None

    if not TYPE_CHECKING:  # for type checkers, pydantic's own signature stands

        def __init__(self, /, **given):
            # As AgentMessage: what is plainly right is taken as it is, in half of the time; anything else, right or
            # wrong, is validated. The tests hold the two ways to the same result.
            quick = _QUICK.get(type(self))
            if quick is None or not quick(self, given):
                super().__init__(**given)

        # Then pydantic, which validates such a model from a dict or from JSON, does not come back here.
        __init__.__pydantic_base_init__ = True

    @property
    def revision(self) -> int | None:
        """The store's revision of this record when it was read; None for one made here."""
        revision: int | None = self._private("_revision", None)
        return revision

    @property
    def written_by(self) -> str | None:
        """Who wrote this record last, as the service knows: the name of an identity, or the address of one that proved
        nothing. None for one made here, and for one that an older service kept."""
        written_by: str | None = self._private("_written_by", None)
        return written_by

    @property
    def written_at(self) -> datetime | None:
        """When, by the service's clock. None where `written_by` is."""
        written_at: datetime | None = self._private("_written_at", None)
        return written_at

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # mutable

    def at_revision(self, revision: int) -> Any:
        """This record, marked as read at a revision."""
        self._revision = revision
        return self


_QUICK: Final[dict[type[RecordModel], Callable[[RecordModel, dict[str, Any]], bool]]] = {}


def make_quickly(cls: type[RecordModel], takes: Mapping[str, Take]) -> None:
    """Lets records of a class, but none derived from it, be made without validation of values that are plainly right.

    Args:
        takes: by the names of fields, what takes their values; who gives another field gets all of them validated.
    """
    required = frozenset(name for name, field in cls.model_fields.items() if field.is_required())
    blank = {name: field.default for name, field in cls.model_fields.items()}
    factories = [
        (name, field.default_factory) for name, field in cls.model_fields.items() if field.default_factory is not None
    ]

    def make(record: RecordModel, given: dict[str, Any]) -> bool:
        if not required <= given.keys():
            return False
        values = blank.copy()  # has all fields, in their order
        for name, value in given.items():
            take = takes.get(name)
            if take is None or (taken := take(value)) is REFUSED:
                return False
            values[name] = taken
        for name, factory in factories:
            if name not in given:
                values[name] = factory()  # type: ignore[call-arg]  # those of records take nothing
        fill_model(record, values, set(given), {"_revision": None, "_written_by": None, "_written_at": None})
        return True

    _QUICK[cls] = make


def take_name(names: Mapping[str, str]) -> Take:
    """Returns what takes a name: of those that are well known, or any other."""
    enum = type(next(iter(names.values())))

    def take(value: Any) -> Any:
        kind = type(value)
        if kind is enum:
            return value
        return names.get(value, value) if kind is str and value and value.isascii() else REFUSED

    return take


def take_id(value: Any) -> Any:
    """Takes an id."""
    return value if type(value) is str and value and value.isascii() else REFUSED


def take_object(value: Any) -> Any:
    """Takes a JSON object without others in it."""
    return value.copy() if is_plain(value) else REFUSED


def take_texts(value: Any) -> Any:
    """Takes a list of texts."""
    return value.copy() if type(value) is list and _TEXT.issuperset(map(type, value)) else REFUSED


def take_count(value: Any) -> Any:
    """Takes a number that is not below 0."""
    return value if type(value) is int and 0 <= value < 2**63 else REFUSED


def take_seconds(value: Any) -> Any:
    """Takes a number of seconds."""
    return value if type(value) is float and 0 <= value < inf else REFUSED


def take_text(value: Any) -> Any:
    """Takes any text."""
    return value if type(value) is str else REFUSED


def take_time(value: Any) -> Any:
    """Takes a time in UTC."""
    return value if type(value) is datetime and value.tzinfo is UTC else REFUSED


def optional(take: Take) -> Take:
    """Returns what takes None too."""
    return lambda value: None if value is None else take(value)


_TEXT: Final = frozenset({str})
