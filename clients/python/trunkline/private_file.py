"""PrivateFile: a file of lines that its owner alone can read and write."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from contextlib import suppress
from itertools import pairwise
from typing import Final

_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class PrivateFile:
    """Appends lines, with mode 0600 whatever the umask; full files are renamed to `path.1` and so on. Any thread may
    write.

    Args:
        path: of the file.
        max_bytes: largest size of the file.
        files: number of files that are kept, this one included.

    Raises:
        OSError: the file cannot be written, is a link or no regular file, belongs to another user, or is open in
            another PrivateFile.
    """

    def __init__(self, path: str, max_bytes: int, files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._files = files
        self._lock = threading.Lock()
        self._size = 0
        self._is_cut = False
        """Whether the last line was written in part."""
        self._descriptor: int | None = None
        self._open()

    def write(self, line: bytes) -> None:
        """Appends a line.

        Raises:
            OSError: the line was not written, or only in part. The next one begins on a line of its own.
        """
        data = line + b"\n"
        with self._lock:
            if self._descriptor is None or self._size + len(data) > self._max_bytes:
                self._rotate()
            assert self._descriptor is not None
            if self._is_cut:
                data = b"\n" + data
            written = os.write(self._descriptor, data)
            self._size += written
            self._is_cut = written < len(data)
            if self._is_cut:
                raise OSError(f"only {written} of {len(data)} bytes were written")

    def close(self) -> None:
        """Closes the file; idempotent."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _rotate(self) -> None:
        if self._descriptor is not None:
            self._close()
            names = [self._path, *(f"{self._path}.{number}" for number in range(1, self._files))]
            for old, new in reversed([*pairwise(names)]):
                with suppress(FileNotFoundError):
                    os.replace(old, new)
        self._open()

    def _open(self) -> None:
        descriptor = os.open(self._path, _FLAGS, 0o600)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is no regular file")
            if status.st_uid != os.geteuid():
                raise OSError(f"it belongs to user {status.st_uid}")
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OSError("another program writes it") from None
            os.fchmod(descriptor, 0o600)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor, self._size, self._is_cut = descriptor, status.st_size, False
