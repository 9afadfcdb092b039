"""A development authority, and the certificates that it signs: files that services and clients take as they are.

For work, tests and small closed networks. Where an organisation has an authority of its own, its certificates belong
here instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import trustme

from trunkline.errors import TlsError
from trunkline.tls.pem import load_key_pair

AUTHORITY: Final = "ca"
SERVER: Final = "server"
DEFAULT_NAMES: Final = ("localhost", "127.0.0.1", "::1")
DEFAULT_DAYS: Final = 365

_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")
_SLACK: Final = timedelta(hours=1)
"""So much before now a certificate begins, for machines whose clocks are behind."""


@dataclass(frozen=True, slots=True)
class Written:
    """A certificate that was made: its name, its two files, and when it ends. The authority's end is its own."""

    name: str
    certificate: Path
    key: Path
    ends: datetime


def write_certificates(
    directory: Path, names: Sequence[str] = DEFAULT_NAMES, clients: Sequence[str] = (), days: float = DEFAULT_DAYS
) -> list[Written]:
    """Writes `ca.pem` and `ca.key` where there are none, then `server.pem` and `server.key`, then a pair for each
    client; what was there of the last two is replaced. Keys get mode 0600, a directory that is made 0700.

    Args:
        names: hosts and addresses at which the service is called.
        clients: a name for each.
        days: how long the new certificates hold.

    Raises:
        ValueError: a name or the time cannot be taken.
        TlsError: an authority that is there cannot be read.
        OSError: a file cannot be written.
    """
    if not names:
        raise ValueError("a service needs a name at which it is called")
    for client in clients:
        if not _NAME.fullmatch(client) or client in (AUTHORITY, SERVER):
            raise ValueError(
                f"{client!r} is no name for a client: letters, digits, dots and dashes, and not ca or server"
            )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority, first = _authority(directory)
    begins = datetime.now(UTC)
    written = [first]
    for name, identities in ((SERVER, tuple(names)), *((client, (client,)) for client in clients)):
        try:
            leaf = authority.issue_cert(
                *identities,
                common_name=identities[0][:64],
                organization_name="Trunkline",
                organization_unit_name="service" if name == SERVER else "client",
                not_before=begins - _SLACK,
                not_after=begins + timedelta(days=days),
            )
        except (ValueError, UnicodeError, TypeError) as error:
            raise ValueError(f"no certificate for {', '.join(identities)}: {error}") from error
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        written.append(_write(directory, name, chain, leaf.private_key_pem.bytes()))
    return written


def _authority(directory: Path) -> tuple[trustme.CA, Written]:
    certificate, key = _files(directory, AUTHORITY)
    if certificate.exists() or key.exists():
        pair = load_key_pair(str(certificate), str(key))
        try:
            return trustme.CA.from_pem(pair.certificate, pair.key), Written(AUTHORITY, certificate, key, pair.ends)
        except (ValueError, TypeError) as error:
            raise TlsError(f"{certificate} is no authority: {error}", details={"reason": "invalid_files"}) from error
    authority = trustme.CA(organization_name="Trunkline", organization_unit_name="development authority")
    return authority, _write(directory, AUTHORITY, authority.cert_pem.bytes(), authority.private_key_pem.bytes())


def _write(directory: Path, name: str, chain: bytes, secret: bytes) -> Written:
    certificate, key = _files(directory, name)
    _replace(key, secret, 0o600)
    _replace(certificate, chain, 0o644)
    return Written(name, certificate, key, load_key_pair(str(certificate), str(key)).ends)


def _files(directory: Path, name: str) -> tuple[Path, Path]:
    return directory / f"{name}.pem", directory / f"{name}.key"


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Writes a file beside and puts it in place: a service that reads it meanwhile has the old or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
