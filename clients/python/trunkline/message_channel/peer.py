"""The process at the other end of a UNIX socket."""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

_CREDENTIALS: Final = struct.Struct("iII")  # pid, uid, gid: struct ucred of unix(7)


class CredentialSocket(Protocol):
    """The part of a socket that is used here; uvloop's stand-in has it too."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...

    def fileno(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of a UNIX socket, its user and its group, as the kernel reports them."""

    pid: int
    uid: int
    gid: int


def peer_of(connection: CredentialSocket) -> Peer:
    """Returns the process that connected (SO_PEERCRED of unix(7))."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(*_CREDENTIALS.unpack(raw))


def allowed(uids: Iterable[int] | None) -> frozenset[int]:
    """Returns the users that may connect: those given, by default the own one and root."""
    return frozenset((os.geteuid(), 0)) if uids is None else frozenset(uids)


def has_left(connection: CredentialSocket) -> bool:
    """Whether the peer closed both directions; a peer that half-closed has not left."""
    poll = select.poll()
    poll.register(connection.fileno(), 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))
