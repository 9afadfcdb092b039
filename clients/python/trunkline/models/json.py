"""JSON as the wire has it: written as it was given, or refused."""

from __future__ import annotations

from math import isfinite
from types import NoneType
from typing import Any, Final

import msgspec

_encode = msgspec.json.Encoder().encode
_PLAIN: Final = frozenset({str, int, bool, NoneType})
"""Types whose every value JSON can say. Not float: it may be NaN."""


def is_plain(value: object) -> bool:
    """Whether a value is a flat dict that JSON can say for sure."""
    if type(value) is not dict:
        return False
    for key, item in value.items():  # noqa: SIM110  # a generator would cost more than the rest of the message
        if type(key) is not str or type(item) not in _PLAIN:
            return False
    return True


def encode_json(value: dict[str, Any]) -> bytes:
    """Returns a JSON object as UTF-8.

    Models check what they are made of; a value that was changed since may hold what JSON cannot say, and msgspec would
    write it as something else (NaN as null, bytes as base64, a set as a list).

    Raises:
        ValueError: NaN, an infinity, or a type that is none of JSON's; says where.
        RecursionError: it is nested too deeply.
    """
    for key, item in value.items():
        if type(key) is not str or type(item) not in _PLAIN:
            _check(value, "")
            break
    return _encode(value)


def _check(value: object, path: str) -> None:
    if isinstance(value, str | int | NoneType):  # bool is an int; enums with such values are written as these
        return
    if isinstance(value, float):
        if isfinite(value):
            return
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{path or 'its top'} has the key {key!r}, which is no text")
            _check(item, f"{path}.{key}" if path else key)
        return
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]")
        return
    raise ValueError(f"{path or 'it'} is {value!r}, which JSON cannot say")
