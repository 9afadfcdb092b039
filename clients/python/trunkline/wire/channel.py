"""Connector: makes the gRPC channels to one address; the one place where they are made."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

import grpc
import grpc.aio

from trunkline.addresses import TLS, without_tls
from trunkline.errors import TlsError, UnauthenticatedError
from trunkline.tls.handshake import why_refused
from trunkline.tls.options import Tls
from trunkline.wire.token import UNSAID, BearerToken, Caller

log = logging.getLogger(__name__)

_SERVER_NAME: Final = "grpc.ssl_target_name_override"
_NO_PROXY: Final = ("grpc.enable_http_proxy", 0)
"""An address is called itself: by a proxy of the environment a token for this machine would leave it."""


def check_tls(address: str, tls: Tls | None) -> None:
    """Raises TlsError where what TLS shall trust is given for an address that is called without TLS."""
    if tls is not None and not address.startswith(TLS):
        raise TlsError(
            f"tls is given, but {address} is called without TLS: write {TLS}host:port",
            details={"reason": "tls_required", "address": address},
        )


class Connector:
    """Makes channels to one address, as its form says: with TLS to `tls://host:port`, without to all others.

    Args:
        address: `host:port`, `tls://host:port` or `unix:/path`.
        options: gRPC channel arguments.
        tls: what is trusted and shown at a `tls://` address. None: what the environment says.
        compression: of the channel.
        caller: who calls.

    Raises:
        TlsError: `tls` is given for an address that is no `tls://`, the environment's settings do not fit together, or
            a token would leave this machine without TLS.
        UnauthenticatedError: the token is malformed.
    """

    def __init__(
        self,
        address: str,
        options: Iterable[tuple[str, int]],
        tls: Tls | None = None,
        compression: grpc.Compression | None = None,
        caller: Caller = UNSAID,
    ) -> None:
        self.address = address
        self._claims = caller.claims()
        self._token = BearerToken(caller.token)
        self._token.check_line(address)
        self._given: tuple[tuple[str, str], ...] = ()
        """The token that was given last."""
        self._uses_tls = address.startswith(TLS)
        check_tls(address, tls)
        self._options: list[tuple[str, int | str]] = [*options, _NO_PROXY]
        self._tls = tls or (Tls.from_environment() if self._uses_tls else Tls())
        self._compression = compression
        self._state: tuple[object, ...] = ()
        """Of the files, when a channel was made with them, or they were found to be bad."""

    def open(self) -> grpc.aio.Channel:
        """Makes a channel; with TLS, of what the files have now.

        Raises:
            TlsError: they cannot be taken.
        """
        target = without_tls(self.address)
        if not self._uses_tls:
            return grpc.aio.insecure_channel(target, options=self._options, compression=self._compression)
        self._state = self._tls.state()
        read = self._tls.load()
        key, chain = (read.pair.key, read.pair.certificate) if read.pair else (None, None)
        named = [(_SERVER_NAME, self._tls.server_name)] if self._tls.server_name else []
        return grpc.aio.secure_channel(
            target,
            grpc.ssl_channel_credentials(read.authorities, key, chain),
            options=[*self._options, *named],
            compression=self._compression,
        )

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Returns the metadata of a call that says who makes it: with the token as its file has it now.

        Raises:
            UnauthenticatedError: it cannot be read.
        """
        self._given = self._token.metadata()
        return (*self._given, *self._claims)

    @property
    def has_other_token(self) -> bool:
        """Whether the token's file has another one than was given last, or cannot be read now."""
        try:
            return self._token.metadata() != self._given
        except UnauthenticatedError:
            return True

    @property
    def is_outdated(self) -> bool:
        """Whether the files have changed since a channel was made of them."""
        return self._uses_tls and self._tls.state() != self._state

    def reopen(self) -> grpc.aio.Channel | None:
        """Makes another channel where the files have changed since the last one; None where they have not, or cannot be
        taken: that is logged once."""
        if not self.is_outdated:
            return None
        try:
            return self.open()
        except TlsError as error:
            log.error("%s is called on with the certificates of before: %s", self.address, error)
            return None

    async def why_refused(self) -> TlsError | None:
        """Asks why no connection can be made; None where TLS is not the reason, or it cannot be told."""
        return await why_refused(self.address, self._tls)
