"""why_refused(): the reason why a connection cannot be made, where that is TLS.

gRPC's own texts for this depend on its version, and for half of the causes they say "Socket closed". So a handshake of
our own, with the same certificates, asks again once gRPC has failed; its errors are those of OpenSSL, by number.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from trunkline.addresses import TLS, UNIX, host_and_port
from trunkline.errors import TlsError
from trunkline.tls.options import Tls
from trunkline.tls.pem import KeyPair

SECONDS: Final = 2.0
"""Within which each step of that handshake must be answered."""

_OVER: Final = (9, 10)
_NAME: Final = (62, 64)
"""Numbers of OpenSSL's verdicts on a certificate (X509_V_ERR_…): not yet valid or expired; another name or address."""

_ALERTS: Final = {
    "CERTIFICATE_REQUIRED": ("certificate_required", "it asks for a client certificate, and none is given"),
    "HANDSHAKE_FAILURE": ("handshake_failed", "it refuses: no common algorithm, or no client certificate"),
    "UNKNOWN_CA": ("certificate_refused", "it does not trust the authority of the client certificate"),
    "CERTIFICATE_EXPIRED": ("certificate_refused", "the client certificate has expired"),
    "CERTIFICATE_REVOKED": ("certificate_refused", "the client certificate was revoked"),
    "UNSUPPORTED_CERTIFICATE": ("certificate_refused", "the client certificate is not made for clients"),
    "CERTIFICATE_UNKNOWN": ("certificate_refused", "it does not take the client certificate"),
    "BAD_CERTIFICATE": ("certificate_refused", "it does not take the client certificate"),
    "PROTOCOL_VERSION": ("handshake_failed", "it speaks no version of TLS that is taken here (1.2 and 1.3)"),
}
"""What the other end said by an alert (RFC 8446, 6.2), by the end of OpenSSL's name for it."""


_HUNG_UP: Final = ("certificate_refused", "it does not take the client certificate: it hangs up (TRUNKLINE_TLS_CERT)")
"""What gRPC's servers do after the handshake, without an alert."""
_UNKNOWN: Final = ("certificate_required", "it hangs up, as it does without a client certificate (TRUNKLINE_TLS_CERT)")
"""The same where there is none."""

_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")
"""What OpenSSL says of an answer that is no TLS."""


async def why_refused(address: str, tls: Tls) -> TlsError | None:
    """Asks why no connection to an address can be made; None where TLS is not the reason, or it cannot be told.

    Args:
        address: where gRPC could not connect to.
        tls: what was to be trusted and shown there.
    """
    if address.startswith(UNIX):
        return None
    ask = _refusal if address.startswith(TLS) else _is_tls
    return await asyncio.to_thread(ask, address, tls)


def _is_tls(address: str, _: Tls) -> TlsError | None:
    """Whether an address that was called without TLS speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with _connected(address) as raw, context.wrap_socket(raw):
            pass
    except ssl.SSLError as error:
        if not _alert(error):
            return None
    except (OSError, UnicodeError):
        return None
    return _fault(address, "tls_required", f"it speaks TLS: write {TLS}{address}")


def _refusal(address: str, tls: Tls) -> TlsError | None:
    """Why a handshake that was to be made fails."""
    try:
        credentials = tls.load()
    except TlsError as error:
        return error
    name = tls.server_name or host_and_port(address)[0]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(cadata=credentials.authorities.decode("ascii", "ignore"))
        shows_all = credentials.pair is None or show(context, credentials.pair)
    except ssl.SSLError:
        return None  # what gRPC takes may be more than OpenSSL does
    found = _shake(address, name, context, shows_all)
    if found is _HUNG_UP:  # so does a service that ends: asked again, it is not there
        found = _shake(address, name, context, shows_all)
    if found is _HUNG_UP and credentials.pair is None:
        found = _UNKNOWN
    return _fault(address, *found) if found else None


def _shake(address: str, name: str, context: ssl.SSLContext, shows_all: bool) -> tuple[str, str] | None:
    """Makes a handshake; returns what is wrong with it."""
    is_done = False
    try:
        with _connected(address) as raw, context.wrap_socket(raw, server_hostname=name) as connection:
            is_done = True
            # Since TLS 1.3 a client certificate is judged after the client's handshake.
            return None if connection.recv(1) or not shows_all else _HUNG_UP
    except ssl.SSLCertVerificationError as error:
        return _verdict(error, name)
    except ssl.SSLError as error:
        return _broken(error, shows_all)
    except ConnectionResetError:
        return _HUNG_UP if is_done and shows_all else None
    except (OSError, UnicodeError):
        return None  # it cannot be reached, or says nothing


def _verdict(error: ssl.SSLCertVerificationError, name: str) -> tuple[str, str]:
    """What is wrong with the service's certificate."""
    if error.verify_code in _OVER:
        return "expired", f"its certificate is not valid now: {error.verify_message}"
    if error.verify_code in _NAME:
        return "wrong_name", f"its certificate is not for {name!r} (TRUNKLINE_TLS_SERVER_NAME)"
    return "untrusted_authority", f"its certificate is not trusted: {error.verify_message} (TRUNKLINE_TLS_CA)"


def _broken(error: ssl.SSLError, shows_all: bool) -> tuple[str, str] | None:
    """Why the other end, or its bytes, ended a handshake; None where that is only because of what was not shown."""
    if alert := _alert(error):
        return _ALERTS.get(alert, ("handshake_failed", f"it ended the handshake: {alert}")) if shows_all else None
    if error.reason in _NO_TLS or isinstance(error, ssl.SSLEOFError):
        return "not_tls", "it does not speak TLS"
    return "handshake_failed", f"the handshake failed: {error.reason}"


def _alert(error: ssl.SSLError) -> str | None:
    """Returns which alert the other end sent, as OpenSSL calls it; None where it sent none."""
    reason = error.reason or ""
    _, is_alert, name = reason.partition("_ALERT_")
    return name if is_alert else None


@contextmanager
def _connected(address: str) -> Iterator[socket.socket]:
    with socket.create_connection(host_and_port(address), SECONDS) as raw:
        yield raw


def show(context: ssl.SSLContext, pair: KeyPair) -> bool:
    """Gives a context the client's certificate. The library takes it from a file only: one in memory. Returns whether
    there could be one."""
    if not hasattr(os, "memfd_create"):
        return False
    with os.fdopen(os.memfd_create("trunkline"), "wb") as file:
        file.write(pair.certificate + b"\n" + pair.key)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
    return True


def _fault(address: str, reason: str, words: str) -> TlsError:
    return TlsError(f"no TLS with {address}: {words}", details={"reason": reason, "address": address})
