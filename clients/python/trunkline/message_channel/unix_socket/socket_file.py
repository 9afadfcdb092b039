"""The file of a UNIX socket: made with its mode, never taken from a live program, removed by its maker."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from trunkline.message_channel.errors import MessageChannelError, SocketInUseError
from trunkline.message_channel.limits import SOCKET_LOCK_SECONDS, SOCKET_TIMEOUT

_LOCK_PAUSE: Final = 0.01


class SocketFile:
    """A listening socket and its file.

    Args:
        path: where. A stale socket there is replaced.
        mode: the file's permissions; it never has others, not even while it is made.
        backlog: connections that wait to be accepted.
        group: the file's group, by number. None: the own one.

    Raises:
        SocketInUseError: a live program listens there, or the file is no socket.
        MessageChannelError: the file cannot be made.
    """

    def __init__(self, path: str, *, mode: int, backlog: int, group: int | None = None) -> None:
        self.path = path
        self.backlog = backlog
        self._removed = False
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The mode of the socket itself is what bind() gives the file (less the umask), so that there is no moment
            # in which the file is open to more; umask() would be the whole process's.
            os.fchmod(self.socket.fileno(), mode if group is None else mode & 0o700)
            with _locked(Path(path).parent):
                _remove_stale(path)
                self.socket.bind(path)
                if group is not None:
                    os.chown(path, -1, group)
                Path(path).chmod(mode)
                self.socket.listen(backlog)
                status = os.lstat(path)
        except SocketInUseError:
            self.socket.close()
            raise
        except OSError as error:
            self.socket.close()
            raise MessageChannelError(f"the socket {path} cannot be made: {error}", details={"path": path}) from error
        self._file = (status.st_dev, status.st_ino)

    def remove(self) -> None:
        """Removes the file, unless it is another's by now. Idempotent."""
        if self._removed:
            return
        self._removed = True
        try:
            with _locked(Path(self.path).parent):
                status = os.lstat(self.path)
                if (status.st_dev, status.st_ino) == self._file:
                    os.unlink(self.path)
        except FileNotFoundError:
            return  # it, or its directory, was removed already

    def close(self) -> None:
        """Removes the file and closes the socket. Idempotent."""
        try:
            self.remove()
        finally:
            self.socket.close()


def _remove_stale(path: str) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise SocketInUseError(f"{path} exists and is no socket; it is left alone", details={"path": path})
    if _is_live(path):
        raise SocketInUseError(
            f"another program listens on {path}; it is left alone. End that program or choose another path",
            details={"path": path},
        )
    os.unlink(path)


def _is_live(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(SOCKET_TIMEOUT)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            # Its queue is full, it is another user's, or of another kind: a live program may well be there.
            return True
        return True


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Lets one program at a time look, remove and bind: else two that start together could remove each other's socket.

    A lock on the directory leaves no file behind. A holder for longer than SOCKET_LOCK_SECONDS is no program of ours,
    and is not waited for.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + SOCKET_LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    break
                time.sleep(_LOCK_PAUSE)
        yield
    finally:
        os.close(descriptor)
