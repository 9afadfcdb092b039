"""Torn: what a killed program left of its database, with any one byte cut off or flipped.

Two facts of SQLite's write-ahead log (https://www.sqlite.org/fileformat.html#the_write_ahead_log) are used: behind a
header of 32 bytes it is frames, each a header of 24 bytes and a page; and the frame that ends a commit says so by the
size of the database, which is 0 in all others.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import unpack_from
from typing import Final

from trunkline.errors import StorageError

PAGE_BYTES: Final = 512
"""The smallest that SQLite has: so that a commit has few bytes, and each of them can be tried."""
_LOG_HEADER, _FRAME_HEADER = 32, 24
SEED: Final = 20_260_301

Contents = Callable[[Path], Awaitable[object]]
"""Opens a database as its program does, and returns all that is in it; raises StorageError where it refuses."""


@dataclass(frozen=True, slots=True)
class Remains:
    """The files of one database, by what their names end in: "" (the database), "-wal", "-tail"."""

    name: str
    files: dict[str, bytes]

    @classmethod
    def of(cls, path: Path) -> Remains:
        """Reads them."""
        found = {end: path.with_name(path.name + end) for end in ("", "-wal", "-tail")}
        return cls(path.name, {end: file.read_bytes() for end, file in found.items() if file.exists()})

    def lay(self, directory: Path) -> None:
        """Writes them into a directory, in the place of those that are there."""
        for end in ("", "-wal", "-tail", "-shm"):
            (directory / f"{self.name}{end}").unlink(missing_ok=True)
        for end, content in self.files.items():
            (directory / f"{self.name}{end}").write_bytes(content)

    def replaced(self, end: str, content: bytes | None) -> Remains:
        """With another content of one file, or without it."""
        files = {key: kept for key, kept in self.files.items() if key != end}
        return Remains(self.name, files if content is None else {**files, end: content})

    def last_commit(self) -> range:
        """Where the frames of the log's last commit are."""
        log = self.files["-wal"]
        page_bytes, salt = unpack_from(">I", log, 8)[0], log[16:24]
        frame = _FRAME_HEADER + page_bytes
        ends = [
            start + frame
            for start in range(_LOG_HEADER, len(log) - frame + 1, frame)
            if log[start + 8 : start + 16] == salt and unpack_from(">I", log, start + 4)[0]
        ]
        return range(ends[-2] if len(ends) > 1 else _LOG_HEADER, ends[-1])


def cuts(remains: Remains, end: str, among: Iterable[int]) -> Iterator[tuple[str, Remains]]:
    """One file, cut off at each of these bytes."""
    for at in among:
        yield f"{remains.name}{end} cut off at {at}", remains.replaced(end, remains.files[end][:at])


def flips(remains: Remains, end: str, among: Iterable[int]) -> Iterator[tuple[str, Remains]]:
    """One file, with one bit of each of these bytes flipped, which one is random."""
    dice = random.Random(SEED)
    for at in among:
        content = bytearray(remains.files[end])
        content[at] ^= 1 << dice.randrange(8)
        yield f"{remains.name}{end} flipped at {at}", remains.replaced(end, bytes(content))


async def judge(cases: Iterable[tuple[str, Remains]], contents: Contents, whole: object) -> Counter[str]:
    """Opens each: it has everything, or is refused by a clear error, else this fails. Returns how many were what."""
    verdicts: Counter[str] = Counter()
    silently, unclear = [], []
    with _memory_directory() as directory:
        for what, remains in cases:
            place = directory / "place"
            place.mkdir()
            remains.lay(place)
            try:
                found = await contents(place / remains.name)
            except StorageError as error:
                verdicts["refused"] += 1
                if remains.name not in error.message:
                    unclear.append(f"{what}: {error.message}")
            else:
                verdicts["whole"] += 1
                if found != whole:
                    silently.append(what)
            shutil.rmtree(place)
    assert not silently, f"silently other than it was, {len(silently)} of {verdicts}: {silently[:10]}"
    assert not unclear, unclear[:10]
    return verdicts


def make_pages_small(path: Path) -> None:
    """Writes a closed database anew, with the smallest pages."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(f"PRAGMA journal_mode = DELETE; PRAGMA page_size = {PAGE_BYTES}; VACUUM;")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


@contextmanager
def _memory_directory() -> Iterator[Path]:
    """In memory where the system has such a place: a directory on disk would make thousands of syncs slow."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="trunkline-", dir=memory if memory.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path)
