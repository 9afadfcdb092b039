"""`trunkline health`: asks a program's health once, at the least cost there is: engines run it every few seconds.

gRPC's import alone takes three times as much CPU as all of this, so the one call is written here as the HTTP/2 frames
that it is (RFC 9113; the headers as literals, which need no table of RFC 7541). It imports the standard library only,
and of that what is small; the words that other commands share would double its cost.

Exit codes: 0 SERVING; 1 NOT_SERVING; 2 wrong usage; 3 there is no such service, or no health; 4 no answer in time;
5 nobody answers there.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator, Sequence

USAGE = """\
Usage: trunkline health ADDRESS [--service NAME] [--timeout SECONDS]

  Asks a program whether it takes calls, for engines that probe by a command.

  ADDRESS is its health address, or another that it serves without TLS: host:port or unix:/path.

Options:
  --service NAME     A gRPC service's full name, such as trunkline.v1.BusService. Default: the whole program.
  --timeout SECONDS  How long to wait for the answer.  [2]
  -h, --help         Show this message and exit.

Exit codes: 0 SERVING; 1 NOT_SERVING; 2 wrong usage; 3 there is no such service; 4 no answer in time; 5 nobody answers.
"""

SERVING, NOT_SERVING, WRONG_USAGE, UNKNOWN, TIMED_OUT, UNREACHABLE = range(6)

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_END_STREAM, _END_HEADERS, _ACK, _PADDED = 1, 4, 1, 8
_HEAD_BYTES = 9
_MAX_FRAME = 16_384
"""What a peer may send where nobody agreed on more."""
_STREAM = 1
_SERVING_STATUS = b"\x08\x01"
"""HealthCheckResponse with status SERVING."""
_WHY = b"trunkline-not-serving"
"""The metadata in which our programs say why they are NOT_SERVING."""


class UsageError(Exception):
    """The command line cannot be taken."""


def main(arguments: Sequence[str]) -> int:
    """Runs the command, says one line, and returns its exit code."""
    try:
        asked = _parse(list(arguments))
    except UsageError as error:
        sys.stderr.write(f"Error: {error}\n{USAGE.partition(chr(10))[0]}\n")
        return WRONG_USAGE
    if asked is None:
        sys.stdout.write(USAGE)
        return SERVING
    address, service, timeout = asked
    code, word = check(address, service, timeout)
    (sys.stderr if code else sys.stdout).write(f"{word}\n")
    return code


def check(address: str, service: str, timeout: float) -> tuple[int, str]:
    """Asks, and returns the exit code and its reason in words.

    Args:
        address: host:port or unix:/path, without TLS.
        service: a full name; empty: the whole program.
        timeout: seconds for all of it.
    """
    until = time.monotonic() + timeout
    try:
        with _connect(address, timeout) as line:
            line.sendall(_call(service))
            answer = headers = b""
            for kind, flags, payload in _frames(line, until):
                if kind == _SETTINGS and not flags & _ACK:
                    line.sendall(_frame(_SETTINGS, _ACK, 0, b""))
                elif kind == _DATA:
                    answer += payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload
                elif kind == _HEADERS:
                    headers = payload  # the last ones stand behind the answer
                elif kind in (_RST_STREAM, _GOAWAY):
                    break
                if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                    break
    except TimeoutError:
        return TIMED_OUT, f"no answer from {address} within {timeout:g} s"
    except (OSError, EOFError) as error:
        return UNREACHABLE, f"{address} cannot be reached: {error}"
    if not answer:
        return UNKNOWN, f"{address} has no health of {service!r}" if service else f"{address} has no health"
    # Its message stands behind five bytes of gRPC: whether it is compressed, and its length.
    if answer[5:] == _SERVING_STATUS:
        return SERVING, "SERVING"
    why = _why(headers)
    return NOT_SERVING, f"NOT_SERVING: {why}" if why else "NOT_SERVING"


def _why(headers: bytes) -> str:
    """Why a program does not serve, from headers that no table has yet, in letters, as gRPC writes them; empty: they do
    not say it."""
    _, _, value = headers.partition(_WHY)
    size, begin = value[:1], 1
    if size == b"\x7f":  # the prefix of a longer size is full, and the rest of it follows: RFC 7541, 5.1
        size, begin = value[1:2], 2
    if not size or size > b"\x7f":
        return ""
    end = begin + size[0] + (0x7F if begin == 2 else 0)
    return "".join(filter(str.isprintable, value[begin:end].decode("ascii", "replace")))


def _parse(arguments: list[str]) -> tuple[str, str, float] | None:
    """Returns the address, the service and the timeout; None: help is asked for."""
    given = {"--service": "", "--timeout": "2"}
    addresses = []
    while arguments:
        word = arguments.pop(0)
        if word in ("-h", "--help"):
            return None
        name, equals, value = word.partition("=")
        if name in given:
            if not equals and not arguments:
                raise UsageError(f"{name} needs a value")
            given[name] = value if equals else arguments.pop(0)
        elif word.startswith("-"):
            raise UsageError(f"no such option: {word}")
        else:
            addresses.append(word)
    if len(addresses) != 1:
        raise UsageError("want one ADDRESS" if not addresses else f"want one ADDRESS, not {' '.join(addresses)}")
    try:
        timeout = float(given["--timeout"])
    except ValueError:
        timeout = 0.0
    if not 0 < timeout <= 3600:
        raise UsageError(f"--timeout must be within 0 and 3600 seconds, not {given['--timeout']!r}")
    if not given["--service"].isascii() or len(given["--service"]) > 127:
        raise UsageError(f"--service is no full name of a gRPC service: {given['--service']!r}")
    _check(addresses[0])
    return addresses[0], given["--service"], timeout


def _check(address: str) -> None:
    if address.startswith("tls://"):
        raise UsageError(f"{address} speaks TLS: ask the health address (--health-address), which needs none")
    if address.startswith("unix:"):
        if address == "unix:":
            raise UsageError("a UNIX socket needs a path, such as unix:/run/trunkline/bus.sock")
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"{address!r} is no address: want host:port, such as 127.0.0.1:7441, or unix:/path")


def _connect(address: str, timeout: float) -> socket.socket:
    if not address.startswith("unix:"):
        host, _, port = address.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), timeout)
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(timeout)
    try:
        line.connect(address.removeprefix("unix:"))
    except OSError:
        line.close()
        raise
    return line


def _call(service: str) -> bytes:
    """The whole of the call grpc.health.v1.Health/Check, from the first byte of the connection on."""
    name = service.encode()
    request = bytes([0x0A, len(name)]) + name if name else b""
    headers = (
        b"\x83\x86"  # :method POST, :scheme http, of the static table
        + _literal(b"\x04", b"/grpc.health.v1.Health/Check")
        + _literal(b"\x01", b"localhost")
        + _literal(b"\x0f\x10", b"application/grpc")
        + _literal(b"\x00\x02te", b"trailers")
    )
    return (
        _PREFACE
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, _STREAM, headers)
        + _frame(_DATA, _END_STREAM, _STREAM, b"\0" + len(request).to_bytes(4, "big") + request)
    )


def _literal(name: bytes, value: bytes) -> bytes:
    """A header that no table keeps: its name, by the static table or in letters, and its value."""
    return name + bytes([len(value)]) + value


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _frames(line: socket.socket, until: float) -> Iterator[tuple[int, int, bytes]]:
    """Yields the kind, the flags and the payload of each frame that comes.

    Raises:
        TimeoutError: it is late.
        EOFError: the peer hung up, or speaks something else.
    """
    while True:
        head = _read(line, _HEAD_BYTES, until)
        size = int.from_bytes(head[:3], "big")
        if size > _MAX_FRAME:
            raise EOFError("it speaks no gRPC, or TLS")
        yield head[3], head[4], _read(line, size, until)


def _read(line: socket.socket, size: int, until: float) -> bytes:
    got = b""
    while len(got) < size:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        line.settimeout(left)
        more = line.recv(size - len(got))
        if not more:
            raise EOFError("it hung up; it speaks no gRPC, or TLS")
        got += more
    return got
