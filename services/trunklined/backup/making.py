"""A data directory into a backup: whole, under its name, or not there at all."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from trunkline import __version__
from trunkline.errors import StorageError
from trunklined.backup.checks import contents_of, digest_of
from trunklined.backup.manifest import NAME, Contents, Copied, write
from trunklined.backup.stores import Store, held, stores_in
from trunklined.sqlite.copying import copy_whole, sync
from trunklined.sqlite.tail import Tail

UNFINISHED: Final = ".unfinished"
"""What a backup's name ends in until it is whole."""

OVER_REDIS: Final = "what is kept by the engine redis, back up by Redis's own persistence (BGSAVE, or its AOF)"

OnPages = Callable[[str, int, int], object]
"""Called with a file's name, and how many of its pages are copied, of how many."""


def make(data: Path, to: Path, on_pages: OnPages) -> Contents:
    """Copies all stores of a data directory, as they were at one moment, into a new directory.

    Args:
        data: the data directory; its services may run.
        to: the backup, which is not there yet.
        on_pages: told of the progress.

    Raises:
        StorageError: there is nothing to copy, what is there cannot be trusted, or the backup cannot be made. Nothing
            is left of it.
    """
    if os.path.lexists(to):
        raise StorageError(f"{to} is there already: name a directory that is not", details={"path": str(to)})
    stores = _stores_in(data)
    draft = to.with_name(to.name + UNFINISHED)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir(mode=0o700)
    except FileExistsError:
        raise StorageError(
            f"{draft} is there: this backup is being made, or was cut off; remove that, or name another directory",
            details={"path": str(draft)},
        ) from None
    except OSError as error:
        raise _failed(to, error) from error
    try:
        contents = _fill(draft, stores, on_pages)
        write(draft, contents)
        sync(draft / NAME)
        sync(draft)
        os.rename(draft, to)
        sync(to.parent)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)  # the first error is the one to tell
        if isinstance(error, OSError):
            raise _failed(to, error) from error
        raise
    return contents


def _stores_in(data: Path) -> list[Store]:
    try:
        stores = stores_in(data)
    except OSError as error:
        raise StorageError(
            f"{data} cannot be read as a data directory: {error.strerror}", details={"path": str(data)}
        ) from error
    if not stores:
        raise StorageError(
            f"there is no journal, state store or backlog in {data}: name the directory of a service's PATH; "
            f"{OVER_REDIS}",
            details={"path": str(data)},
        )
    return stores


def _fill(draft: Path, stores: list[Store], on_pages: OnPages) -> Contents:
    tails = [Tail(store.path.resolve(), store.format.noun) for store in stores]
    notes = [tail.read() for tail in tails]  # before the moment: a commit that is noted is seen in it
    with held(stores) as readers:
        taken_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        # The smallest first, so that few logs grow for long.
        for store, reader in sorted(zip(stores, readers, strict=True), key=lambda pair: pair[0].path.stat().st_size):
            with _copying(store):
                copy_whole(reader, draft / store.path.name, partial(on_pages, store.path.name))
                reader.execute("ROLLBACK")
    return Contents(
        __version__,
        taken_at,
        tuple(_checked(draft, *each) for each in zip(stores, tails, notes, strict=True)),
    )


def _checked(draft: Path, store: Store, tail: Tail, note: bytes) -> Copied:
    path = draft / store.path.name
    with _copying(store):
        version, commit = contents_of(path, store.format)
        tail.compare(note, commit)
    return Copied(path.name, store.program, version, commit, path.stat().st_size, digest_of(path))


@contextmanager
def _copying(store: Store) -> Iterator[None]:
    """Names the store in what is raised."""
    try:
        yield
    except (sqlite3.Error, StorageError) as error:
        raise StorageError(
            f"there is no backup: {store.path} could not be copied, or its copy not be trusted: {error}",
            details={"path": str(store.path)},
        ) from error


def _failed(to: Path, error: OSError) -> StorageError:
    return StorageError(f"the backup {to} could not be made: {error}", details={"path": str(to)})
