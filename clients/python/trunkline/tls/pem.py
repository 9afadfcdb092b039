"""Certificates, keys and authorities from PEM, in files or as text, checked before they are used.

What cannot be taken is a TlsError that names the setting, the file, and what is wrong. No error has a key in it.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from trunkline.errors import TlsError

BEGIN: Final = "-----BEGIN "
"""What begins so is PEM itself, and no path."""
SYSTEM: Final = "system"
"""The authorities that the operating system trusts."""

_BASE64: Final = re.compile(r"[A-Za-z0-9+/=\s]{100,}")

MAX_PEM_BYTES: Final = 4 * 1024 * 1024
"""A larger file is none of ours: all public authorities together take 0.3 MiB."""

MIN_RSA_BITS: Final = 2048
_KINDS: Final = f"RSA of at least {MIN_RSA_BITS} bits is, and EC on P-256 or P-384"

_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep what they trust: Debian and Alpine, Red Hat, SUSE, macOS and the BSDs."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate with the chain above it, its private key, and when it begins and ends."""

    certificate: bytes
    key: bytes = field(repr=False)
    subject: str
    begins: datetime
    ends: datetime


def is_pem(source: str) -> bool:
    """Returns whether a setting is PEM itself, not the path of a file."""
    return source.lstrip().startswith(BEGIN)


def shown(source: str) -> str:
    """Returns how a setting is named in errors and logs: a path as it is, PEM never, nor what may be a key in another
    form."""
    if is_pem(source):
        return "(PEM)"
    return "(not shown: it looks like a key)" if _BASE64.fullmatch(source) and not os.path.exists(source) else source


def state_of(sources: Iterable[str]) -> tuple[object, ...]:
    """Returns something that differs once one of the files was written, replaced or removed."""
    return tuple(_state(source) for source in sources)


def load_key_pair(
    certificate: str, key: str, *, names: tuple[str, str] = ("cert", "key"), for_grpc: bool = True
) -> KeyPair:
    """Reads a certificate and its key, each a file or PEM.

    Args:
        names: what the two settings are called, for errors.
        for_grpc: whether the key must be of a kind that gRPC takes.

    Raises:
        TlsError: one cannot be read or is no PEM, others can read the key, it is of a kind that is not taken, or the
            two do not match.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    of_certificate, of_key = names
    chain = _read(certificate, of_certificate)
    secret = _read(key, of_key, is_secret=True)
    try:
        first = x509.load_pem_x509_certificates(chain)[0]
        public, subject = first.public_key(), first.subject.rfc4514_string()
    except ValueError:
        raise _fault(of_certificate, certificate, "is no certificate in PEM") from None
    except UnsupportedAlgorithm:
        raise _fault(of_certificate, certificate, f"has a key of a kind that is not taken: {_KINDS}") from None
    try:
        private = load_pem_private_key(secret, password=None)
    except TypeError:
        raise _fault(of_key, key, "is encrypted with a password: give a key without one") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _fault(of_key, key, "is no private key in PEM") from None
    if public != private.public_key():
        raise _fault(of_key, key, f"does not match the certificate {shown(certificate)}")
    if for_grpc and not _is_taken(private):
        raise _fault(of_key, key, f"is of a kind that gRPC's TLS does not take: {_KINDS}")
    return KeyPair(chain, secret, subject, first.not_valid_before_utc, first.not_valid_after_utc)


def _is_taken(private: object) -> bool:
    """Whether gRPC's TLS makes and takes signatures with such a key: with others each handshake would fail."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(private, rsa.RSAPrivateKey):
        return private.key_size >= MIN_RSA_BITS
    return isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP256R1 | ec.SECP384R1)


def check_time(pair: KeyPair, source: str, name: str = "cert") -> None:
    """Raises TlsError for a certificate that is over, or has not begun."""
    now = datetime.now(UTC)
    if now > pair.ends:
        raise _fault(name, source, f"expired on {pair.ends:%Y-%m-%d %H:%M} UTC", reason="expired")
    if now < pair.begins:
        raise _fault(name, source, f"is valid from {pair.begins:%Y-%m-%d %H:%M} UTC only", reason="expired")


def load_authorities(source: str, name: str = "ca") -> bytes:
    """Reads authorities: a file, PEM, or "system" for those of the operating system.

    Raises:
        TlsError: they cannot be read, or are no PEM.
    """
    from cryptography import x509

    if source == SYSTEM:
        return _of_system(name)
    pem = _read(source, name)
    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise _fault(name, source, "is no certificate in PEM") from None
    return pem


def _of_system(name: str) -> bytes:
    given = ssl.get_default_verify_paths().cafile
    for path in (*([given] if given else []), *_BUNDLES):
        if Path(path).is_file():
            return _read(path, name)
    raise _fault(name, SYSTEM, "has no bundle of authorities that is known here: name a file")


def _read(source: str, name: str, *, is_secret: bool = False) -> bytes:
    if is_pem(source):
        return source.encode()
    try:
        with open(source, "rb") as file:
            status = os.fstat(file.fileno())
            if is_secret and hasattr(os, "geteuid"):
                _check_mode(status, source, name)
            content = file.read(MAX_PEM_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _fault(name, source, f"cannot be read: {why}") from None  # it has the path, which may be a key
    if len(content) > MAX_PEM_BYTES:
        raise _fault(name, source, f"has more than {MAX_PEM_BYTES} bytes")
    return content


def _check_mode(status: os.stat_result, source: str, name: str) -> None:
    """Refuses a key that others can read. As PostgreSQL does, it lets the own group read a key that belongs to root:
    so Kubernetes and certificate stores hand keys to users that are not root."""
    is_given_by_root = status.st_uid == 0 and os.geteuid() != 0
    if status.st_mode & (0o027 if is_given_by_root else 0o077):
        mode, wanted = stat.S_IMODE(status.st_mode), "640" if is_given_by_root else "600"
        raise _fault(name, source, f"can be read by others (mode {mode:04o}): chmod {wanted} {source}")


def _state(source: str) -> object:
    if is_pem(source) or source == SYSTEM:
        return None
    try:
        status = os.stat(source)
    except (OSError, ValueError):
        return "missing"
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _fault(name: str, source: str, wrong: str, *, reason: str = "invalid_files") -> TlsError:
    return TlsError(f"{name} {shown(source)} {wrong}", details={"reason": reason, "field": name})
