"""JSON as it was given, or an error."""

from __future__ import annotations

from collections import OrderedDict
from enum import IntEnum, StrEnum
from typing import Any

import pytest

from trunkline.models.json import decode_json, encode_json


class Text(str):
    """Text of a program's own class."""


class Number(float):
    """As numpy's float64 is."""


class Word(StrEnum):
    A = "a"


class Digit(IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, b"null"),
        ([1, "ä", True, 2**70], '[1,"ä",true,1180591620717411303424]'.encode()),
        ({"a": {}}, b'{"a":{}}'),
        ([Text("x"), Number(1.5), Word.A, Digit.ONE], b'["x",1.5,"a",1]'),
        (OrderedDict(a=[1]), b'{"a":[1]}'),
    ],
)
def test_what_json_can_say_is_written(value: Any, text: bytes) -> None:
    """Any value, not objects alone; what is derived from JSON's types as those."""
    assert encode_json(value) == text


@pytest.mark.parametrize(
    "value", [float("nan"), [float("inf")], {"a": (1,)}, {1: 2}, b"x", {"a": {1}}, object(), "\ud83d", {"\ud83d": 1}]
)
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    """Never written as something else."""
    with pytest.raises(ValueError):  # noqa: PT011  # of UTF-8 the text is Python's own
        encode_json(value)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "[1,]", "", '"\\ud83d"'])
def test_what_is_no_json_is_not_read(text: str) -> None:
    """Python's own reader takes some of these."""
    with pytest.raises(ValueError):  # noqa: PT011  # msgspec's own text
        decode_json(text)
