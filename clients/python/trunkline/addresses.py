"""Addresses: `host:port`, `tls://host:port` of a port that speaks TLS, or `unix:/path` of a UNIX socket; the same for
programs that serve and for clients."""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import Final

from trunkline.errors import InvalidAddressError
from trunkline.text import safe_text

UNIX: Final = "unix:"
TLS: Final = "tls://"
MAX_SOCKET_PATH: Final = 107
"""Bytes of a UNIX socket's path (sun_path on Linux, less its end)."""
MAX_PORT: Final = 65_535

_FORMS: Final = "want host:port, such as 127.0.0.1:7431, tls://host:port, or unix:/path"


def check_address(address: str) -> str:
    """Returns an address at which a program may serve, unchanged. Port 0 means any free one.

    Raises:
        ValueError: it is none; says what an address is.
    """
    if address.startswith(UNIX):
        path = address.removeprefix(UNIX)
        if not path or "\0" in path:
            raise ValueError("a UNIX socket needs a path, such as unix:/run/trunkline/bus.sock")
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise ValueError(f"a UNIX socket's path has at most {MAX_SOCKET_PATH} bytes")
        return address
    if "://" in without_tls(address):
        raise ValueError(f"{_FORMS}: {without_tls(address).partition('://')[0]}:// has no place in an address")
    host, colon, port = without_tls(address).rpartition(":")
    if not host or not colon or not port.isascii() or not port.isdigit():
        raise ValueError(_FORMS)
    if len(port) > len(str(MAX_PORT)) or int(port) > MAX_PORT:
        raise ValueError(f"{_FORMS}: a port is at most {MAX_PORT}")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError("an IPv6 host stands in brackets, such as [::1]:7431")
    if "/" in host or not host.isprintable() or " " in host:
        raise ValueError(f"{_FORMS}: a host has no blanks and no slashes")
    return address


def check_target(address: str) -> str:
    """Returns an address to which a client may connect, unchanged.

    Raises:
        InvalidAddressError: it is none; says what an address is.
        TypeError: it is no text.
    """
    if not isinstance(address, str):
        raise TypeError(f"an address must be text, such as '127.0.0.1:7431', not {address!r}")
    try:
        check_address(address)
        if not address.startswith(UNIX) and int(address.rpartition(":")[2]) == 0:
            raise ValueError(f"{_FORMS}: nothing serves on port 0")
    except ValueError as error:
        shown = safe_text(address[:80])
        raise InvalidAddressError(
            f"{shown!r} is no address: {error}", details={"field": "address", "value": shown}
        ) from None
    return address


def without_tls(address: str) -> str:
    """Returns the address as sockets and gRPC name it: without `tls://`."""
    return address.removeprefix(TLS)


def host_and_port(address: str) -> tuple[str, int]:
    """Returns the host, without brackets, and the port of an address that is no UNIX socket's."""
    host, _, port = without_tls(address).rpartition(":")
    return host.strip("[]"), int(port)


def is_local(address: str) -> bool:
    """Returns whether only this machine reaches an address: a UNIX socket, or one of the loopback interface. A name is
    looked up, and one that is not found counts as reached by others."""
    if address.startswith(UNIX):
        return True
    host, _ = host_and_port(address)
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return all(_is_loopback(str(where[0])) for *_, where in found)


def _is_loopback(host: str) -> bool:
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def this_process() -> str:
    """Returns what a program is called that says no name: its host and its process."""
    return f"{socket.gethostname()}:{os.getpid()}"
