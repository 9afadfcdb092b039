"""Pages of what the bus lists: their sizes, and the tokens that name where the next one begins."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final

from trunkline.errors import InvalidMessageError
from trunkline.limits import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE

_DIGEST_BYTES: Final = 8
_KEY: Final = b"trunkline bus page token"
"""Not a secret: it tells tokens that were given from text that was made up."""


def page_size_of(request: Any) -> int:
    """The `page_size` of a request.

    Raises:
        InvalidMessageError: it is below 1.
    """
    if not request.HasField("page_size"):
        return DEFAULT_PAGE_SIZE
    if request.page_size < 1:
        raise InvalidMessageError(
            f"page_size is {request.page_size}, it must be at least 1",
            details={"field": "page_size", "value": str(request.page_size)},
        )
    return min(int(request.page_size), MAX_PAGE_SIZE)


def make_token(after: int, query: str) -> str:
    """Makes the token of a page that ends with an id; good only for the same query."""
    digest = blake2b(f"{after}:{query}".encode(), digest_size=_DIGEST_BYTES, key=_KEY).hexdigest()
    return f"{after:x}-{digest}"


def read_token(token: str, query: str) -> int:
    """Returns the id behind which the page begins; 0 for no token.

    Raises:
        InvalidMessageError: it was never given for that.
    """
    if not token:
        return 0
    try:
        after = int(token.partition("-")[0][: _DIGEST_BYTES * 2], 16)
    except ValueError:
        after = 0
    if token != make_token(after, query):
        raise InvalidMessageError(
            f"page_token {token[:80]!r} was never given for what is asked here",
            details={"field": "page_token", "value": token[:80]},
        )
    return after
