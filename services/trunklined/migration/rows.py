"""Rows: what is copied, and how both sides show it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, Protocol

from trunkline.errors import StorageError

PAGE_ROWS: Final = 1_000
PAGE_BYTES: Final = 1024 * 1024
"""What is copied at once; the last row may go beyond the bytes."""


class Row(NamedTuple):
    """A row: what names it in its table, and the rest. Both are the same on either side."""

    name: str
    value: bytes


class Side(Protocol):
    """What one side has in its tables."""

    place: str
    """Where it is, for people; without a password."""

    def count(self, table: str) -> int:
        """Returns how many rows a table has."""

    def pages(self, table: str) -> Iterator[list[Row]]:
        """Yields the rows of a table."""

    def put(self, table: str, rows: Sequence[Row]) -> None:
        """Writes rows, before `finish` of whatever makes the target."""


class FileSide(Side, Protocol):
    """The file's side. Its pages come in an order of which each row has one place."""


class RoomSide(Side, Protocol):
    """Redis's side. Its pages may have a row twice."""

    def fetch(self, table: str, names: Sequence[str]) -> list[bytes | None]:
        """Returns the values of rows, in the order of the file; None for what is not there."""


class RefusedError(StorageError):
    """It is not begun, and nothing was written."""


def paged(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yields rows in pages of about PAGE_BYTES."""
    page: list[Row] = []
    size = 0
    for row in rows:
        page.append(row)
        size += len(row.value)
        if len(page) == PAGE_ROWS or size >= PAGE_BYTES:
            yield page
            page, size = [], 0
    if page:
        yield page
