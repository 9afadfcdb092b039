"""Binds a server to a TCP port or a UNIX socket, or raises an error that says why it cannot be bound."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import grpc

from trunkline.addresses import TLS, UNIX, host_and_port, without_tls
from trunkline.errors import TrunklineError

_ALL = ("0.0.0.0", "[::]", "")
"""Hosts that mean all addresses of this machine."""


class Listener(Protocol):
    """The part of `grpc.aio.Server` that `listen` uses."""

    def add_insecure_port(self, address: str) -> int: ...

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int: ...


class ListenError(TrunklineError):
    """The address cannot be bound. Details: address."""

    error_code = "ADDRESS_UNAVAILABLE"
    status = "UNAVAILABLE"


def listen(server: Listener, address: str, credentials: grpc.ServerCredentials | None = None) -> str:
    """Binds the server to "host:port", "tls://host:port" or "unix:/path"; returns the address with the actual port.

    A UNIX socket gets mode 0600. The file of a dead server is removed; that of a live server is left alone.

    Args:
        credentials: with which "tls://" is served.

    Raises:
        ListenError: the address is in use, belongs to another machine, or cannot be bound.
    """
    if address.startswith(UNIX):
        _listen_unix(server, Path(address.removeprefix(UNIX)))
        return address
    # grpc only says that it failed, and that on standard error; the plain socket calls say why. They ask first, so that
    # the usual case, a second server on the same port, gives one clear line.
    fault = _fault(address)
    if fault is not None and fault.errno == errno.EADDRINUSE:
        raise _refused(address, "another program serves there")
    target = without_tls(address)
    try:
        if address.startswith(TLS):
            assert credentials is not None
            port = server.add_secure_port(target, credentials)
        else:
            port = server.add_insecure_port(target)
    except RuntimeError as error:
        unknown = "it cannot be bound" if credentials is None else "gRPC does not take the certificate with its key"
        raise _refused(address, str(fault.strerror or fault) if fault else unknown) from error
    return f"{address.rpartition(':')[0]}:{port}"


def reachable(address: str) -> str:
    """Returns where another machine reaches what listens at an address: of all addresses of this one, the first that
    its name has."""
    scheme = TLS if address.startswith(TLS) else ""
    host, _, port = without_tls(address).rpartition(":")
    if address.startswith(UNIX) or host not in _ALL:
        return address
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, proto=socket.IPPROTO_TCP)
    except OSError as error:
        raise TrunklineError(
            f"{socket.gethostname()!r} has no address that others could be told ({error}): set the advertised address"
        ) from error
    first = str(found[0][4][0])
    return f"{scheme}[{first}]:{port}" if ":" in first else f"{scheme}{first}:{port}"


def _listen_unix(server: Listener, path: Path) -> None:
    address = f"{UNIX}{path}"
    try:
        with _alone_in(path.parent), _umask(0o177):
            _remove_stale(path)
            server.add_insecure_port(address)
    except RuntimeError as error:
        raise _refused(address, "the socket cannot be made") from error
    except OSError as error:
        raise _refused(address, error.strerror or str(error)) from error


def _remove_stale(path: Path) -> None:
    address = f"{UNIX}{path}"
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise _refused(address, "there is a file that is no socket; it is left alone")
    if is_live(path):
        raise _refused(address, "another program serves there")
    path.unlink(missing_ok=True)


def is_live(path: Path) -> bool:
    """Returns whether a program listens on this UNIX socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError as error:
            # A full backlog (EAGAIN) or a timeout means that somebody is there, only busy.
            return error.errno not in (errno.ENOTSOCK, errno.EPROTOTYPE)
    return True


def hang_up(address: str) -> None:
    """Makes a server deaf: it accepts no more connections, and those that it has are shut down, without a word.

    gRPC ends what arrives at a server that stops with CANCELLED, which callers take for their own doing and do not try
    again. A connection that is gone, or cannot be made, ends it with UNAVAILABLE. To be called when all answers are
    sent.

    Args:
        address: as `listen` returned it.
    """
    with socket.socket() as nothing:
        accepted = []
        for fd in _own_sockets():
            try:
                with socket.socket(fileno=os.dup(fd)) as found:
                    if not _is_at(found.getsockname(), address):
                        continue
                    if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        accepted.append(fd)
                        continue
                # gRPC still has the number, and closes it in the end; a listener that is shut down it would log.
                os.dup2(nothing.fileno(), fd, inheritable=False)
            except OSError:
                continue  # closed meanwhile
    for fd in accepted:
        with suppress(OSError), socket.socket(fileno=os.dup(fd)) as connection:
            connection.shutdown(socket.SHUT_RDWR)


def _own_sockets() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found.append(int(name))
        except OSError:
            continue  # the directory's own descriptor, closed by now
    return found


def _is_at(name: object, address: str) -> bool:
    """Whether a socket's own name is that of a server's address."""
    if address.startswith(UNIX):
        return name == address.removeprefix(UNIX)
    return isinstance(name, tuple) and str(name[1]) == address.rpartition(":")[2]


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Locks a directory, so that two servers that start at once do not remove each other's new socket. The lock is on
    the directory itself: a lock file would have to stay."""
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    """Sets the umask meanwhile: the socket must never exist with wider permissions, not even until a chmod."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _fault(address: str) -> OSError | None:
    """Returns the error of a plain socket on this address; None if it can be bound."""
    host, port = host_and_port(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, where in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(where)
                probe.listen()
    except OSError as error:
        return error
    return None


def _refused(address: str, why: str) -> ListenError:
    return ListenError(f"cannot serve on {address}: {why}", details={"address": address})
