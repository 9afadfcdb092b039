"""The types of model fields: what is accepted, and what it becomes."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

_ID_BATCH: Final = 256
_ID_LENGTH: Final = 36
_HEX_PLACES: Final = tuple(place for place in range(_ID_LENGTH) if place not in (8, 13, 18, 23))
_VERSION_PLACE: Final = 14
_VARIANT_PLACE: Final = 19
_TO_VARIANT: Final = bytes.maketrans(b"0123456789abcdef", b"89ab" * 4)
_ids: list[str] = []


def new_id() -> str:
    """A random UUID (RFC 9562, version 4) as text.

    `uuid.uuid4()` asks the kernel for each and builds an object of it; here one question yields 256 of them, and one
    step writes the same place of all of them.
    """
    try:
        return _ids.pop()
    except IndexError:
        noise = os.urandom(16 * _ID_BATCH).hex().encode()
        text = bytearray(b"-" * (_ID_LENGTH * _ID_BATCH))
        for index, place in enumerate(_HEX_PLACES):
            text[place::_ID_LENGTH] = noise[index::32]
        text[_VERSION_PLACE::_ID_LENGTH] = b"4" * _ID_BATCH
        text[_VARIANT_PLACE::_ID_LENGTH] = text[_VARIANT_PLACE::_ID_LENGTH].translate(_TO_VARIANT)
        written = text.decode()
        _ids.extend([written[start : start + _ID_LENGTH] for start in range(0, len(written), _ID_LENGTH)])
        return _ids.pop()


os.register_at_fork(after_in_child=_ids.clear)  # else parent and child would hand out the same ids


def now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


def _to_utc(time: datetime) -> datetime:
    return time.astimezone(UTC)


Time = Annotated[AwareDatetime, AfterValidator(_to_utc)]
"""A timezone-aware time, kept in UTC. A naive one is refused."""

JsonObject = dict[str, JsonValue]
"""A JSON object. Anything that JSON cannot say unchanged (NaN, tuples, bytes, keys that are no text) is refused."""

Id = Annotated[str, Field(min_length=1)]


class Model(BaseModel):
    """What all models share: unknown fields are ignored, values are checked when made and when assigned."""

    model_config = ConfigDict(extra="ignore", validate_assignment=True, allow_inf_nan=False)


_set_values = BaseModel.__dict__["__dict__"].__set__
_set_fields = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_set_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
_set_private = BaseModel.__dict__["__pydantic_private__"].__set__


def fill_model(model: Model, values: dict[str, Any], fields: set[str], private: dict[str, Any] | None = None) -> None:
    """Fills a new model with a value for each of its fields that needs no validation: pydantic's `model_construct`
    without its search for defaults and aliases, at a tenth of its price.

    Args:
        values: of all fields, in their order; becomes the model's own.
        fields: the names of all fields. May be shared by many models: pydantic adds to it what is assigned later, and
            it holds all names already.
        private: its private attributes, of a model that has some.
    """
    _set_values(model, values)
    _set_fields(model, fields)
    _set_extra(model, None)
    _set_private(model, private)
