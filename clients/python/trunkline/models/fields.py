"""The types of model fields: what is accepted, and what it becomes."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

_ID_BATCH = 256
_ids: list[str] = []
_set = object.__setattr__


def new_id() -> str:
    """A random UUID (RFC 9562, version 4) as text.

    `uuid.uuid4()` asks the kernel for each; here one question yields 256 of them, which makes a message a third
    cheaper to build.
    """
    try:
        return _ids.pop()
    except IndexError:
        noise = os.urandom(16 * _ID_BATCH).hex()
        for start in range(0, len(noise), 32):
            h = noise[start : start + 32]
            variant = "89ab"[int(h[16], 16) & 3]
            _ids.append(f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{variant}{h[17:20]}-{h[20:]}")
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


def fill_model(model: Model, values: dict[str, Any]) -> None:
    """Fills a new model with a value for each of its fields that needs no validation: pydantic's `model_construct`
    without its search for defaults and aliases, at a quarter of its price."""
    _set(model, "__dict__", values)
    _set(model, "__pydantic_fields_set__", set(values))
    _set(model, "__pydantic_extra__", None)
    _set(model, "__pydantic_private__", None)


class RecordModel(Model):
    """A model that the StateService keeps. `revision` is no field: it takes no part in equality and dumps."""

    _revision: int | None = None

    @property
    def revision(self) -> int | None:
        """The store's revision of this record when it was read; None for one made here."""
        return self._revision

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # mutable

    def at_revision(self, revision: int) -> Any:
        """This record, marked as read at a revision."""
        self._revision = revision
        return self
