"""Sources: which files of a folder the demo works on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trunkline
from trunkline.demo.limits import MAX_FILE_BYTES

LEFT_OUT: Final = frozenset({"node_modules", "__pycache__", "venv", "site-packages", "build", "dist", "target"})
"""Folders that hold what others wrote or what was made of sources; hidden ones and *.egg-info are left out too."""

_PROBE: Final = 8192
"""A file with a NUL in so many first bytes counts as binary, as git has it."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Files of one folder.

    Args:
        root: the folder.
        paths: relative to it, with '/', in order.
        beyond: how many more there are, left out because of the limit.
        skipped: files left out because they are binary, too large, or cannot be read.
    """

    root: Path
    paths: tuple[str, ...]
    beyond: int
    skipped: int


def default_folder() -> Path:
    """The project's checkout; for an installed wheel the installed package."""
    package = Path(trunkline.__file__).resolve().parent
    checkout = package.parents[2]
    return checkout if (checkout / "protos" / "trunkline").is_dir() else package


def find(root: Path, limit: int) -> Sources:
    """Walks a folder. Symbolic links are not followed."""
    paths: list[str] = []
    beyond = skipped = 0
    for path in _walk(root):
        if not _is_text(path):
            skipped += 1
        elif len(paths) == limit:
            beyond += 1
        else:
            paths.append(path.relative_to(root).as_posix())
    return Sources(root, tuple(paths), beyond, skipped)


def _walk(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not _is_left_out(name))
        for name in sorted(files):
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                yield path


def _is_left_out(folder: str) -> bool:
    return folder.startswith(".") or folder in LEFT_OUT or folder.endswith(".egg-info")


def _is_text(path: Path) -> bool:
    try:
        path.relative_to(path.anchor).as_posix().encode()  # a name that is no Unicode cannot travel
        if path.stat().st_size > MAX_FILE_BYTES:
            return False
        with path.open("rb") as file:
            return b"\0" not in file.read(_PROBE)
    except (OSError, UnicodeEncodeError):
        return False
