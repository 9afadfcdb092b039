"""Static tokens: a file with a name and a salted hash on each line. The tokens themselves are nowhere but with those
whom they were given to.

A token is `tlk.NAME.SECRET`. A line is `NAME sha256:SALT:HASH`; the secret has 256 random bits, so that one round of a
fast hash is enough. A name may have several lines, so that a token can be replaced without a gap.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from trunkline.channels import check_name
from trunkline.errors import InvalidChannelError, TrunklineError, UnauthenticatedError

PREFIX: Final = "tlk."
"""What a static token begins with, for us and for scanners of secrets."""
_ALGORITHM: Final = "sha256"
_BYTES: Final = 32
SETTING: Final = "token_file"
MAX_FILE_BYTES: Final = 4 * 1024 * 1024


class TokenFileError(TrunklineError):
    """The file of static tokens cannot be taken. Details: setting, file, line."""

    error_code = "TOKEN_FILE"
    status = "FAILED_PRECONDITION"


def make_token(name: str) -> tuple[str, str]:
    """Makes a token; returns it and its line for the file.

    Raises:
        InvalidChannelError: the name is not written like one token of a channel.
    """
    check_name("name", name)
    secret, salt = secrets.token_urlsafe(_BYTES), secrets.token_hex(16)
    return f"{PREFIX}{name}.{secret}", f"{name} {_ALGORITHM}:{salt}:{_hash(salt, secret)}"


class StaticTokens:
    """What a file of tokens says.

    Args:
        text: its content.
        where: its path, for errors.

    Raises:
        TokenFileError: a line is none; names the line, and never shows it.
    """

    def __init__(self, text: str, where: str) -> None:
        self._lines: dict[str, list[tuple[str, str]]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            parts = words[1].split(":") if len(words) == 2 else []
            if len(parts) != 3 or parts[0] != _ALGORITHM or not all(map(_is_hex, parts[1:])) or len(parts[2]) != 64:
                raise _wrong(where, number, f"is not of the form NAME {_ALGORITHM}:SALT:HASH")
            try:
                check_name("name", words[0])
            except InvalidChannelError as error:
                raise _wrong(where, number, error.message) from None
            self._lines.setdefault(words[0], []).append((parts[1], parts[2]))

    @property
    def sources(self) -> frozenset[str]:
        """The hashes that are there now; see `Identity.source`."""
        return frozenset(hashed for lines in self._lines.values() for _, hashed in lines)

    def verify(self, token: str) -> tuple[str, str]:
        """Returns the name that a token proves, and its source. Takes equally long whether there is such a name, and
        where a hash differs.

        Raises:
            UnauthenticatedError: there is no such token.
        """
        name, _, secret = token.removeprefix(PREFIX).rpartition(".")
        found = ""
        for salt, hashed in self._lines.get(name, [("0", "0" * 64)]):
            if hmac.compare_digest(_hash(salt, secret), hashed):
                found = hashed
        if not found:
            raise UnauthenticatedError("the token is not known", details={"why": "unknown token"})
        return name, found


def read_tokens(path: Path) -> StaticTokens:
    """Reads a file of static tokens.

    Raises:
        TokenFileError: it cannot be read, others can write it, or a line is none.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise TokenFileError(
                    f"{path} can be written by others: chmod go-w {path}",
                    details={"setting": SETTING, "file": str(path)},
                )
            raw = file.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise TokenFileError(
                f"{path} has more than {MAX_FILE_BYTES} bytes", details={"setting": SETTING, "file": str(path)}
            )
        return StaticTokens(raw.decode(), str(path))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is no text"
        raise TokenFileError(f"{path} cannot be read: {why}", details={"setting": SETTING, "file": str(path)}) from None


def _hash(salt: str, secret: str) -> str:
    return hashlib.sha256(f"{salt}:{secret}".encode("utf-8", "replace")).hexdigest()


def _is_hex(text: str) -> bool:
    return bool(text) and all(character in "0123456789abcdef" for character in text)


def _wrong(where: str, number: int, wrong: str) -> TokenFileError:
    return TokenFileError(
        f"{where}, line {number}: {wrong}", details={"setting": SETTING, "file": where, "line": number}
    )
