"""ConnectOptions: what a client says of how it connects; and the stream that comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import InitVar, dataclass
from typing import Any

from trunkline.addresses import check_target, this_process
from trunkline.errors import TrunklineError
from trunkline.tls.options import Tls
from trunkline.wire.channel import check_tls
from trunkline.wire.stream import Compression, Stream, StreamUser, check_compression
from trunkline.wire.token import Caller, Token, given_name


@dataclass(slots=True)
class ConnectOptions:
    """The arguments of the same names of `GrpcMessageBus` and `GrpcStateManager`. The address is checked, and not kept.

    Raises:
        InvalidAddressError, TlsError, ValueError: one of them cannot be taken.
    """

    address: InitVar[str]
    connect_timeout: float
    wait_for_ready: bool
    compression: Compression | None
    tls: Tls | None
    token: Token | None
    on_behalf_of: str | None
    given_client_name: str | None

    def __post_init__(self, address: str) -> None:
        check_compression(self.compression)
        check_target(address)
        check_tls(address, self.tls)
        self.given_client_name = given_name(self.given_client_name)

    @property
    def client_name(self) -> str:
        """What the client is called, for people."""
        return this_process() if self.given_client_name is None else self.given_client_name

    def stream(
        self, address: str, method: str, parse: Callable[[bytes], Any], user: StreamUser, lost: type[TrunklineError]
    ) -> Stream:
        """Makes a stream to an address, which is not open yet; see `Stream`."""
        caller = Caller(self.token, self.on_behalf_of, self.client_name)
        options = (self.compression, self.wait_for_ready, self.tls, caller)
        return Stream(address, method, parse, user, lost, *options)
