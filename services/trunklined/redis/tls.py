"""Tls: what is trusted of a Redis that speaks TLS, and what is shown to it."""

from __future__ import annotations

import ssl
import threading
from typing import Final

import structlog

from trunkline.errors import TlsError
from trunkline.tls.handshake import show
from trunkline.tls.pem import SYSTEM, check_time, is_pem, load_authorities, load_key_pair, state_of

_CA: Final = "--redis-tls-ca"
_PAIR: Final = ("--redis-tls-cert", "--redis-tls-key")


class Tls:
    """TLS 1.2 or 1.3 with a Redis whose certificate has its host's name. Files are read anew when they have changed and
    a connection is made; what cannot be taken then is logged, and that of before is used.

    Args:
        ca: who may sign Redis's certificate, and nobody else: a PEM file, PEM itself, or "system".
        cert, key: this program's own certificate and its key, each a PEM file or PEM. Empty: none is shown.
    """

    def __init__(self, ca: str = SYSTEM, cert: str = "", key: str = "") -> None:
        self._ca, self._cert, self._key = ca, cert, key
        self._lock = threading.Lock()
        self._state: tuple[object, ...] = ()
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Returns what a connection is made with. May be called in any thread.

        Raises:
            TlsError: the files cannot be taken, and never could.
        """
        with self._lock:
            state = state_of(filter(None, (self._ca, self._cert, self._key)))
            if self._context is None or state != self._state:
                try:
                    self._context = self._load()
                except TlsError as error:
                    if self._context is None:
                        raise
                    structlog.get_logger().error(
                        "TLS files for Redis cannot be taken; those of before are used", reason=error.message
                    )
                self._state = state
            return self._context

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which checks the name
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(cadata=load_authorities(self._ca, _CA).decode("ascii", "ignore"))
        if self._cert:
            pair = load_key_pair(self._cert, self._key, names=_PAIR, for_grpc=False)
            check_time(pair, self._cert, _PAIR[0])
            try:
                if not is_pem(self._cert) and not is_pem(self._key):
                    context.load_cert_chain(self._cert, self._key)
                elif not show(context, pair):
                    raise TlsError(f"{_PAIR[1]} must be a file on this system, and so must {_PAIR[0]}")
            except ssl.SSLError as error:
                raise TlsError(f"{_PAIR[0]} and {_PAIR[1]} cannot be used: {error.reason}") from None
        return context
