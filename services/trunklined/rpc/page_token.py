"""Pages of lists: their sizes, what fits them, and the opaque tokens that name where the next one begins (https://google.aip.dev/158).

A token holds the last entry of the page before, by its key, and a digest of the key and of the question: a token of
another question, or a text that was made up, is refused and never taken for a place.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from hashlib import blake2b
from hmac import compare_digest
from typing import Any, Final

from google.protobuf.message import Message

from trunkline.errors import TrunklineError
from trunkline.limits import DEFAULT_PAGE_SIZE, FRAME_BYTES, MAX_ANSWER_BYTES, MAX_PAGE_SIZE
from trunklined.rpc.long_work import TimeSlice

PAGE_BYTES: Final = MAX_ANSWER_BYTES - FRAME_BYTES
"""Entries of one page; the answer's other fields are below what is left of MAX_ANSWER_BYTES."""
_ENVELOPE_BYTES: Final = 8
"""What an entry takes beside itself at the most: its tag and its length."""
_DIGEST_BYTES: Final = 12
_KEY: Final = b"trunkline page token, version 2"
"""Not a secret, so that every replica knows it: it tells given tokens from text that was made up."""


def page_size_of(request: Any, error: type[TrunklineError]) -> int:
    """Returns the page size of a request: at most `MAX_PAGE_SIZE`, `DEFAULT_PAGE_SIZE` where it sets none.

    Args:
        request: a message with the optional field `page_size`.
        error: the class to raise.

    Raises:
        TrunklineError: of the class `error`: the size is below 1; details field and value.
    """
    if not request.HasField("page_size"):
        return DEFAULT_PAGE_SIZE
    size = int(request.page_size)
    if size < 1:
        raise error(f"page_size is {size}, it must be at least 1", details={"field": "page_size", "value": str(size)})
    return min(size, MAX_PAGE_SIZE)


async def fill_page(page: Any, entries: Iterable[tuple[str, Message]], page_size: int) -> str | None:
    """Fills a page with entries, each under its key; returns the key of the last one where there are more.

    A page ends before the entry that would make it larger than PAGE_BYTES, but has one in any case.

    Args:
        page: the list of the answer.
        entries: in order, from the first of the page on, made as they are asked for, since others have their turn in
            between; no more are asked for than one beyond the page.
        page_size: how many at the most.
    """
    room, last = PAGE_BYTES, ""
    work = TimeSlice()
    for key, entry in entries:
        if work.is_over:
            await work.rest()
        room -= entry.ByteSize() + _ENVELOPE_BYTES
        if page and (len(page) == page_size or room < 0):
            return last
        page.append(entry)
        last = key
    return None


def make_page_token(last: str, question: bytes) -> str:
    """Makes the token of the page after the entry with the key `last`, for one question: the list and its filter."""
    key = last.encode()
    return urlsafe_b64encode(_digest(key, question) + key).decode()


def read_page_token(token: str, question: bytes, error: type[TrunklineError]) -> str | None:
    """Returns the key that a token names; None for the empty token, which is the first page's.

    Raises:
        TrunklineError: of the class `error`: the token was not made for this question; details field and value.
    """
    if not token:
        return None
    try:
        raw = urlsafe_b64decode(token.encode("ascii"))
        digest, key = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        if urlsafe_b64encode(raw).decode() == token and compare_digest(digest, _digest(key, question)):
            return key.decode()
    except (binascii.Error, UnicodeError):
        pass  # refused below, as every other text that is no token
    raise error(
        f"page_token {token[:80]!r} was never given for what is asked here",
        details={"field": "page_token", "value": token[:80]},
    )


def _digest(key: bytes, question: bytes) -> bytes:
    framed = len(question).to_bytes(8, "big") + question + key
    return blake2b(framed, digest_size=_DIGEST_BYTES, key=_KEY).digest()
