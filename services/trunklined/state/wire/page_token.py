"""Page tokens: opaque text that says where the next page begins, good only for the question that it was given for."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

import msgspec

from trunkline.records import RecordKind, invalid_record
from trunklined.state.records import Facets

_DIGEST_BYTES: Final = 12
_KEY: Final = b"trunkline page token, version 1"
"""Not a secret: it tells tokens that were given from text that was made up, and every replica knows it."""


def give(kind: RecordKind, wanted: Facets, last_id: str) -> str:
    """The token of the page behind `last_id`."""
    last = last_id.encode()
    return urlsafe_b64encode(_digest(kind, wanted, last) + last).decode()


def take(token: str, kind: RecordKind, wanted: Facets) -> str:
    """The id that the page begins behind.

    Raises:
        InvalidRecordError: the token was never given, or for another kind or filter.
    """
    try:
        raw = urlsafe_b64decode(token.encode("ascii"))
        digest, last = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        if urlsafe_b64encode(raw).decode() == token and compare_digest(digest, _digest(kind, wanted, last)):
            return last.decode()
    except (binascii.Error, UnicodeError):
        pass  # said below, as for every other text that is no token
    raise invalid_record("page_token", "was not given for this kind and filter", token[:80])


def _digest(kind: RecordKind, wanted: Facets, last: bytes) -> bytes:
    question = msgspec.msgpack.encode((int(kind), wanted, last))
    return blake2b(question, digest_size=_DIGEST_BYTES, key=_KEY).digest()
