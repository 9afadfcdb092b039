"""Tokens that somebody else signs (JWT, RFC 7519), and the keys that they are checked with."""

from __future__ import annotations

import hashlib
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from trunkline.errors import UnauthenticatedError
from trunkline.tls.pem import MIN_RSA_BITS
from trunklined.access.jwt_terms import FETCH_SECONDS, HTTPS, JwtTerms
from trunklined.access.proof_errors import KeysError

LEEWAY_SECONDS: Final = 10.0
"""So much clocks may differ."""
MAX_KEYS_BYTES: Final = 1024 * 1024
MAX_KEYS: Final = 256

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey


@dataclass(frozen=True, slots=True)
class Keys:
    """Public keys by their ids. A key of a PEM file has none, and is tried for every token.

    Args:
        by_id: the keys that have an id.
        others: those that have none.
    """

    by_id: Mapping[str, PublicKey] = field(default_factory=dict)
    others: Sequence[PublicKey] = ()

    @property
    def sources(self) -> frozenset[str]:
        """What names each key that is there now; see `Identity.source`."""
        return frozenset(map(_fingerprint, (*self.by_id.values(), *self.others)))


def verify(token: str, keys: Keys, terms: JwtTerms) -> tuple[str, str, float]:
    """Returns the name that a token proves, its source, and when it ends, the leeway counted in.

    Raises:
        UnauthenticatedError: it proves nothing; says why, and has nothing of the token.
    """
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        raise _refused("the token is no JWT", "malformed") from None
    algorithm, kid = str(header.get("alg")), str(header.get("kid") or "")
    if algorithm not in terms.algorithms:
        raise _refused(f"the token is not signed by one of {', '.join(terms.algorithms)}", "algorithm")
    if kid and keys.by_id and kid not in keys.by_id:
        raise _refused("the token is signed by a key that is not known", "unknown key")
    candidates = [keys.by_id[kid]] if kid in keys.by_id else [*keys.others, *(() if kid else keys.by_id.values())]
    why = _refused("the token is signed by a key that is not known", "unknown key")
    for key in candidates:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=terms.audience,
                issuer=terms.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", terms.identity_claim, *terms.required_claims]},
            )
        except (jwt.InvalidSignatureError, jwt.InvalidKeyError, TypeError, ValueError):
            why = _refused("the token's signature is wrong", "signature")
            continue
        except jwt.PyJWTError as error:
            raise _explained(error) from None
        try:
            ends = float(claims["exp"]) + LEEWAY_SECONDS
        except OverflowError:
            raise _refused("the token cannot be taken: no time is as late as it says to expire", "malformed") from None
        return claims[terms.identity_claim], _fingerprint(key), ends
    raise why


def _explained(error: jwt.PyJWTError) -> UnauthenticatedError:
    """What is wrong with a token that is signed as it must be."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return _refused(f"the token has no claim {error.claim!r}", "missing claim")
    for kind, words, why in (
        (jwt.ExpiredSignatureError, "the token has expired", "expired"),
        (jwt.ImmatureSignatureError, "the token is not valid yet", "not yet valid"),
        (jwt.InvalidAudienceError, "the token is for another audience", "audience"),
        (jwt.InvalidIssuerError, "the token is from another issuer", "issuer"),
    ):
        if isinstance(error, kind):
            return _refused(words, why)
    return _refused("the token cannot be taken", "malformed")


def _refused(words: str, why: str) -> UnauthenticatedError:
    return UnauthenticatedError(words, details={"why": why})


def load_keys(source: str) -> Keys:
    """Reads keys: PEM or a JWKS document (RFC 7517) in a file, or such a document at an https URL. Blocks.

    Raises:
        KeysError: they cannot be had, or there is none among them that can be taken; a secret one is refused.
    """
    raw = _fetch(source) if source.startswith(HTTPS) else _read(source)
    if len(raw) > MAX_KEYS_BYTES:
        raise KeysError(f"{source} has more than {MAX_KEYS_BYTES} bytes")
    return _of_pem(raw, source) if raw.lstrip().startswith(b"-----BEGIN ") else _of_jwks(raw, source)


def _fetch(url: str) -> bytes:
    try:
        opener = urllib.request.build_opener(
            _NoRedirect, urllib.request.HTTPSHandler(context=ssl.create_default_context())
        )
        ends = time.monotonic() + FETCH_SECONDS
        read = bytearray()
        with opener.open(url, timeout=FETCH_SECONDS) as answer:
            while len(read) <= MAX_KEYS_BYTES and (part := answer.read1(MAX_KEYS_BYTES)):
                read += part
                if time.monotonic() > ends:  # the library's timeout is of each part
                    raise TimeoutError(f"the answer is not whole after {FETCH_SECONDS:g} s")
        return bytes(read)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise KeysError(f"{url} cannot be fetched: {getattr(error, 'reason', None) or error}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follows none: who may say where keys are is said in the settings alone."""


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_KEYS_BYTES + 1)
    except (OSError, ValueError) as error:
        raise KeysError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _of_pem(raw: bytes, where: str) -> Keys:
    begin = b"-----BEGIN "
    found = [_checked(_public(begin + part, where), where) for part in raw.split(begin)[1:]]
    return Keys(others=found)


def _public(pem: bytes, where: str) -> Any:
    try:
        return serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        if b"PRIVATE KEY" in pem.partition(b"\n")[0]:
            raise KeysError(f"{where} has a private key: give the public one") from None
        raise KeysError(f"{where} has something that is no public key in PEM") from None


def _of_jwks(raw: bytes, where: str) -> Keys:
    try:
        document = json.loads(raw)
        listed = document["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise KeysError(f"{where} is neither PEM nor a JWKS document") from None
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_KEYS:
        raise KeysError(f"{where} has no keys, or more than {MAX_KEYS}")
    by_id: dict[str, PublicKey] = {}
    others: list[PublicKey] = []
    for each in listed:
        if not isinstance(each, dict):
            raise KeysError(f"{where} has a key that is no object")
        if each.get("use", "sig") != "sig":
            continue
        kid = each.get("kid")
        if each.get("kty") == "oct" or "d" in each:
            raise KeysError(f"{where} has a secret key: who has it could sign")
        try:
            key = _checked(jwt.PyJWK.from_dict(each).key, where)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue  # of a kind that is not known here: the others count
        if isinstance(kid, str) and kid:
            by_id[kid] = key
        else:
            others.append(key)
    if not by_id and not others:
        raise KeysError(f"{where} has no public key for signatures that is known here")
    return Keys(by_id, others)


def _checked(key: Any, where: str) -> PublicKey:
    if not isinstance(key, PublicKey):
        raise KeysError(f"{where} has a key of a kind that signs no tokens here: RSA, EC or Ed25519 does")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise KeysError(f"{where} has an RSA key of {key.key_size} bits, at least {MIN_RSA_BITS} are needed")
    return key


def _fingerprint(key: PublicKey) -> str:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()
