"""The copy itself, and the comparison at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

from trunklined.migration.rows import FileSide, RoomSide, Side


class Found(NamedTuple):
    """What one side has of a table: the number of rows, and a checksum of all of them."""

    rows: int
    checksum: str


class Comparison(NamedTuple):
    """A table as the file has it, and as Redis does."""

    table: str
    file: Found
    room: Found

    @property
    def is_same(self) -> bool:
        """Whether both have the same."""
        return self.file == self.room


def copy(table: str, source: Side, target: Side, on_rows: Callable[[int], object]) -> None:
    """Copies the rows of a table; `on_rows` is called with the number of those that were copied since."""
    for page in source.pages(table):
        target.put(table, page)
        on_rows(len(page))


def compare(tables: Iterable[str], file: FileSide, room: RoomSide) -> list[Comparison]:
    """Reads both sides anew, and returns what each has. The file says the order, so that a checksum needs no memory;
    what only Redis has shows in the number of rows."""
    found = []
    for table in tables:
        in_file, in_room = sha256(), sha256()
        rows = 0
        for page in file.pages(table):
            rows += len(page)
            names = [row.name for row in page]
            _add(in_file.update, names, [row.value for row in page])
            _add(in_room.update, names, room.fetch(table, names))
        found.append(
            Comparison(table, Found(rows, in_file.hexdigest()[:16]), Found(room.count(table), in_room.hexdigest()[:16]))
        )
    return found


def _add(update: Callable[[bytes], None], names: Sequence[str], values: Sequence[bytes | None]) -> None:
    for name, value in zip(names, values, strict=True):
        if value is not None:
            update(b"%d %d " % (len(name.encode()), len(value)) + name.encode() + value)
