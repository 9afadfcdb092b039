"""Caller: who a client says it is; BearerToken: what it proves that by, and never to whom it should not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from trunkline.addresses import TLS, is_local
from trunkline.errors import TlsError, UnauthenticatedError

TOKEN: Final = "TRUNKLINE_TOKEN"
TOKEN_FILE: Final = "TRUNKLINE_TOKEN_FILE"
"""Where the token, or the path of its file, stands in the environment."""
AUTHORIZATION: Final = "authorization"
"""The metadata of a call that carries it."""
ON_BEHALF_OF: Final = "trunkline-on-behalf-of"
"""The metadata in which who is trusted to says whose a call is."""
CLIENT: Final = "trunkline-client"
"""The metadata in which a client says what it is called, for people: it proves nothing."""
CLIENT_NAME: Final = "TRUNKLINE_CLIENT_NAME"
"""Where that stands in the environment."""
MAX_CLIENT_NAME_LENGTH: Final = 255
MAX_TOKEN_BYTES: Final = 8 * 1024
"""A longer one is none: metadata of a call has at most so many."""

Token = str | os.PathLike[str]
"""A token itself as text, or the path of its file."""

_State = tuple[int, int, int] | None


def whose(name: str) -> tuple[str, str]:
    """Returns the metadata that says whose a call is. Metadata is ASCII; a name need not be."""
    return (ON_BEHALF_OF, quote(name))


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a client says it is.

    Args:
        token: a token as text, or the path of its file. None: what the environment says.
        on_behalf_of: whose the calls are. None: the caller's own.
        name: what it is called, for people. None: it is not said.
    """

    token: Token | None = None
    on_behalf_of: str | None = None
    name: str | None = None

    def claims(self) -> tuple[tuple[str, str], ...]:
        """Returns the metadata of a call that says so, beside the token."""
        claims = () if self.on_behalf_of is None else (whose(self.on_behalf_of),)
        return claims if self.name is None else (*claims, (CLIENT, quote(self.name)))


UNSAID: Final = Caller()
"""Who says nothing but the token of its environment."""


def given_name(name: str | None) -> str | None:
    """Returns what a client is called: its name, else what TRUNKLINE_CLIENT_NAME says, else None.

    Raises:
        ValueError: it is longer than MAX_CLIENT_NAME_LENGTH characters, empty, or has some that cannot be printed.
    """
    if name is None:
        name = os.environ.get(CLIENT_NAME) or None
    if name is not None and not (0 < len(name) <= MAX_CLIENT_NAME_LENGTH and name.isprintable()):
        raise ValueError(
            f"client_name is {name[:40]!r}, it must be 1 to {MAX_CLIENT_NAME_LENGTH} characters that can be printed"
        )
    return name


class BearerToken:
    """A token, or a file that has one, which is read anew when it changes.

    Args:
        token: the token itself as text, or a path. None: what TRUNKLINE_TOKEN or TRUNKLINE_TOKEN_FILE says, else none.

    Raises:
        UnauthenticatedError: both variables are set, or a token is malformed.
    """

    def __init__(self, token: Token | None = None) -> None:
        if token is None:
            token = _from_environment()
        self._path = None if token is None or isinstance(token, str) else Path(token)
        self._state: _State = None
        self._value = _checked(token, TOKEN) if isinstance(token, str) else ""

    def __repr__(self) -> str:
        return f"BearerToken(path={self._path})" if self._path else "BearerToken(…)"

    @property
    def is_set(self) -> bool:
        """Whether there is a token to give."""
        return self._path is not None or bool(self._value)

    def value(self) -> str:
        """Returns the token as it is now.

        Raises:
            UnauthenticatedError: its file cannot be read, or has none.
        """
        if self._path is not None:
            try:
                state = _state(self._path)
                if state != self._state:
                    self._value = _checked(self._path.read_text(), str(self._path))
                    self._state = state
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) and error.strerror else "it is no text"
                raise UnauthenticatedError(
                    f"the token file {self._path} cannot be read: {why}", details={"file": str(self._path)}
                ) from None
        return self._value

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Returns the metadata of a call that says who makes it. Raises as `value`."""
        return ((AUTHORIZATION, f"Bearer {self.value()}"),) if self.is_set else ()

    def check_line(self, address: str) -> None:
        """Raises TlsError where the token would leave this machine on a line that others can read."""
        if self.is_set and not address.startswith(TLS) and not is_local(address):
            raise TlsError(
                f"a token is not sent to {address}, beyond this machine and without TLS: write {TLS}{address}",
                details={"reason": "tls_required", "address": address},
            )


def _from_environment() -> Token | None:
    token, path = os.environ.get(TOKEN), os.environ.get(TOKEN_FILE)
    if token and path:
        raise UnauthenticatedError(f"both {TOKEN} and {TOKEN_FILE} are set: which of them counts?")
    return token or (Path(path) if path else None)


def _checked(text: str, where: str) -> str:
    """Returns a token without the line's end behind it. No error has the token in it."""
    token = text.strip()
    if not token or len(token) > MAX_TOKEN_BYTES or not all("!" <= character <= "~" for character in token):
        raise UnauthenticatedError(
            f"what {where} has is no token: 1 to {MAX_TOKEN_BYTES} printable ASCII characters without blanks",
            details={"field": "token"},
        )
    return token


def _state(path: Path) -> _State:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
