"""Page tokens: good for the question that they were made for, and for nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trunkline.errors import InvalidMessageError, InvalidRecordError
from trunkline.limits import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE
from trunklined.rpc.page_token import make_page_token, page_size_of, read_page_token


def request(page_size: int | None) -> Any:
    return SimpleNamespace(page_size=page_size or 0, HasField=lambda _: page_size is not None)


@pytest.mark.parametrize("last", ["17", "a", "Zürich:7", "x" * 512])
def test_a_token_names_the_last_entry(last: str) -> None:
    """Whatever its key is; the empty token names none."""
    assert read_page_token(make_page_token(last, b"q"), b"q", InvalidRecordError) == last
    assert read_page_token("", b"q", InvalidRecordError) is None


@pytest.mark.parametrize("token", ["made up", "é", "AAAA" * 100, "=", make_page_token("a", b"q") + "="])
def test_text_that_was_made_up_is_refused(token: str) -> None:
    """With the error of the service, which names the field."""
    with pytest.raises(InvalidRecordError) as caught:
        read_page_token(token, b"q", InvalidRecordError)
    assert caught.value.details == {"field": "page_token", "value": token[:80]}


@pytest.mark.parametrize(("last", "question"), [("a", b"q2"), ("2a", b"q"), ("a", b"")])
def test_a_token_of_another_question_is_refused(last: str, question: bytes) -> None:
    """Also where key and question written one behind the other are the same."""
    with pytest.raises(InvalidMessageError):
        read_page_token(make_page_token(last, question), b"q2" if question == b"q" else b"q", InvalidMessageError)


def test_page_sizes() -> None:
    """Unset: the default; too large: the largest; below 1: refused."""
    assert page_size_of(request(None), InvalidRecordError) == DEFAULT_PAGE_SIZE
    assert page_size_of(request(7), InvalidRecordError) == 7
    assert page_size_of(request(10**9), InvalidRecordError) == MAX_PAGE_SIZE
    with pytest.raises(InvalidMessageError, match="page_size is 0, it must be at least 1"):
        page_size_of(request(0), InvalidMessageError)
