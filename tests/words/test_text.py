"""Text that UTF-8 cannot say, made fit for every border."""

from __future__ import annotations

import json

import msgspec
import pytest

from trunkline.text import error_text, safe_json, safe_text


class _MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_a_lone_surrogate_is_escaped_and_all_else_stays() -> None:
    """As Python writes it."""
    assert safe_text("bad \ud83d ä 😀\n") == "bad \\ud83d ä 😀\n"


def test_json_of_any_text_is_read_by_strict_readers() -> None:
    """The escape is in the text that is read, not in the JSON around it; pairs that mean a character stay."""
    value = {"bad \ud83d": ["\udcff", '"\\ud83d"', "😀", 1]}
    text = safe_json(value)
    assert msgspec.json.decode(text.encode()) == {"bad \\ud83d": ["\\udcff", '"\\ud83d"', "😀", 1]}
    assert safe_json({"ä": 1}) == json.dumps({"ä": 1}, ensure_ascii=False)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad \ud83d"), "ValueError: bad \\ud83d"),
        (KeyError(), "KeyError"),
        (_MuteError(), "_MuteError, whose text cannot be read: RuntimeError"),
    ],
)
def test_an_error_says_what_it_is(error: Exception, text: str) -> None:
    """Its class and its text, also where it has none that can be read."""
    assert error_text(error) == text
