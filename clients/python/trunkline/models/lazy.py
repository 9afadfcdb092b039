"""Models whose fields are read when they are first asked for.

Such a model is made with a *source* alone: in its dict, under a key that no field has. Python looks into an instance's
dict before it asks a `LazyField` of the class; so a field costs its reading once, and then what every attribute costs.
Whoever asks for the whole dict, or for what else pydantic keeps of a model (dumps, copies, comparisons, assignments,
pickling), gets it complete, and the source is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from trunkline.models.fields import Model, fill_model

SOURCE: Final = ""
"""The key of the source: a tuple whose first item has, by the name of each field, the function that reads it from the
tuple; and under this key, the one that returns the private attributes, if the model was made without them."""

ABSENT: Final = object()
"""What such a function returns for a field that the model has not."""

_dict = BaseModel.__dict__["__dict__"]
known_fields: Final[Callable[[BaseModel], dict[str, Any]]] = _dict.__get__
"""Returns the dict of a model as it is: the fields that were read so far, and the source."""
set_known: Final[Callable[[BaseModel, dict[str, Any]], None]] = _dict.__set__
"""Sets that dict."""


class LazyField:
    """A field that may not have been read yet. Like pydantic's fields, it is no attribute of the class."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: BaseModel | None, owner: type) -> Any:
        if instance is not None:
            known = known_fields(instance)
            if (source := known.get(SOURCE)) is not None:
                value = source[0][self._name](source)
                if value is not ABSENT:
                    return known.setdefault(self._name, value)
        raise AttributeError(f"{owner.__name__!r} object has no attribute {self._name!r}")


class _WholeDict:
    """`__dict__` with all fields in it."""

    def __get__(self, instance: Model, owner: type[Model]) -> dict[str, Any]:
        known = known_fields(instance)
        if (source := known.get(SOURCE)) is None:
            return known
        readers = source[0]
        fields = {name: known[name] if name in known else readers[name](source) for name in owner.model_fields}
        whole = {name: value for name, value in fields.items() if value is not ABSENT}
        if (private := readers.get(SOURCE)) is None:
            set_known(instance, whole)
        else:
            fill_model(instance, whole, set(whole), private(source))
        return whole

    def __set__(self, instance: Model, values: dict[str, Any]) -> None:
        set_known(instance, values)


class LazyModel(Model):
    """A model whose fields may be read when they are first asked for."""

    if not TYPE_CHECKING:
        __dict__ = _WholeDict()

        def __getattr__(self, name):
            if SOURCE in known_fields(self) and name.startswith("__pydantic_"):
                self.__dict__  # noqa: B018  # completes it
                return object.__getattribute__(self, name)
            return super().__getattr__(name)

    def _private(self, name: str, default: Any) -> Any:
        """Returns a private attribute, also of a model that is not complete yet."""
        source = known_fields(self).get(SOURCE)
        if source is None or (read := source[0].get(name)) is None:
            private = self.__pydantic_private__
            return private[name] if private else default
        return read(source)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for name in cls.model_fields:
            setattr(cls, name, LazyField(name))
