"""JSON as the wire has it: written as it was given, or refused."""

from __future__ import annotations

import json
from math import isfinite
from types import NoneType
from typing import Any, Final

import msgspec

JSON_TYPE: Final = "application/json"
"""The media type of the wire's JSON text."""

_decode = msgspec.json.Decoder().decode
_PLAIN: Final = frozenset({str, int, bool, NoneType})
"""Types whose every value JSON can say. Not float: it may be NaN."""
_KEYS: Final = frozenset({str})


class NotJsonError(ValueError):
    """A value that JSON cannot say.

    Attributes:
        path: where it is, such as `a.b[0]`; empty at the top.
        wrong: what is wrong with it.
    """

    def __init__(self, path: str, wrong: str) -> None:
        super().__init__(f"{path or 'it'} {wrong}")
        self.path = path
        self.wrong = wrong


def is_plain(value: object) -> bool:
    """Returns whether a value is a JSON object whose values are texts, integers, booleans and nulls."""
    return type(value) is dict and _KEYS.issuperset(map(type, value)) and _PLAIN.issuperset(map(type, value.values()))


def encode_json(value: Any) -> bytes:
    """Returns a value as JSON in UTF-8.

    Models check what they are made of; a value that was changed since may hold what JSON cannot say, and msgspec would
    write it as something else (NaN as null, bytes as base64, a set as a list). JSON says a value unchanged where it
    reads back as an equal one.

    Raises:
        NotJsonError: NaN, an infinity, or a type that is none of JSON's; says where.
        UnicodeEncodeError: text that UTF-8 cannot say. Both are ValueErrors.
        RecursionError: it is nested too deeply.
    """
    if is_plain(value):
        return _encode(value)
    try:
        encoded = _encode(value)
        if _decode(encoded) == value:
            return encoded
    except (TypeError, ValueError):  # the check says where
        encoded = None
    _check(value, "")
    return _encode(value) if encoded is None else encoded


def _as_plain(value: object) -> object:
    """Returns the value of a class derived from one of JSON's (numpy's `float64` is a float), which msgspec does not
    write by itself."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TypeError(f"{type(value).__name__} is none of JSON's types")


_encode = msgspec.json.Encoder(enc_hook=_as_plain).encode


def decode_json(text: str | bytes) -> Any:
    """Returns the value of JSON text.

    Raises:
        ValueError: it is no JSON (NaN, say), or holds text that UTF-8 cannot say.
        RecursionError: it is nested too deeply.
    """
    return _decode(text)


def is_json_type(content_type: str) -> bool:
    """Whether a media type says JSON: `application/json` or another `…+json`, with or without parameters."""
    name = content_type.partition(";")[0].strip().lower()
    return name == JSON_TYPE or name.endswith("+json")


def json_fault(text: str, error: Exception) -> tuple[str, int | None]:
    """Returns why `decode_json` refused a text, and where: counted in characters from 0, None where that is not known.

    The standard library's parser is asked, because it always says where. It takes more than JSON has (NaN, half of a
    surrogate pair); of that, what `decode_json` said stands.
    """
    try:
        json.loads(text)
    except json.JSONDecodeError as located:
        return str(located), located.pos
    except (ValueError, RecursionError):
        pass
    return str(error), None


def _check(value: object, path: str) -> None:
    if isinstance(value, str | int | NoneType):  # bool is an int; enums with such values are written as these
        return
    if isinstance(value, float):
        if isfinite(value):
            return
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise NotJsonError(path, f"has the key {key!r}, which is no text")
            _check(item, f"{path}.{key}" if path else key)
        return
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]")
        return
    raise NotJsonError(path, f"is {value!r}, which JSON cannot say")
