"""Tls: what a client trusts at a `tls://` address, and what it shows of itself."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final, Self

from trunkline.errors import TlsError
from trunkline.tls.pem import SYSTEM, KeyPair, check_time, load_authorities, load_key_pair, state_of

VARIABLES: Final = {
    "ca": "TRUNKLINE_TLS_CA",
    "cert": "TRUNKLINE_TLS_CERT",
    "key": "TRUNKLINE_TLS_KEY",
    "server_name": "TRUNKLINE_TLS_SERVER_NAME",
}
"""Where each is set in the environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What was read."""

    authorities: bytes
    pair: KeyPair | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What a client trusts at a `tls://` address, and what it shows of itself.

    Files are read at `connect`, and anew when they have changed and the connection is made again.

    Args:
        ca: the authorities that may sign the service's certificate: a PEM file, PEM itself, or "system", those that the
            operating system trusts.
        cert: the client's own certificate with the chain above it, a PEM file or PEM: for a service that asks for one.
            None: none is shown.
        key: its private key, a PEM file that no one else can read, or PEM.
        server_name: the name that the service's certificate must have. None: the host of the address.

    Raises:
        TlsError: a certificate without its key, or a key without its certificate.
    """

    ca: str = SYSTEM
    cert: str | None = None
    key: str | None = field(default=None, repr=False)
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            missing = "key" if self.key is None else "cert"
            raise TlsError(
                f"{'cert' if missing == 'key' else 'key'} is given without {missing} ({VARIABLES[missing]})",
                details={"reason": "invalid_files", "field": missing},
            )

    @classmethod
    def from_environment(cls) -> Self:
        """Returns what the variables TRUNKLINE_TLS_CA, _CERT, _KEY and _SERVER_NAME say."""
        return cls(**{name: value for name, variable in VARIABLES.items() if (value := os.environ.get(variable))})

    def state(self) -> tuple[object, ...]:
        """Returns something that differs once one of the files has changed."""
        return state_of(each for each in (self.ca, self.cert, self.key) if each is not None)

    def load(self) -> Credentials:
        """Reads and checks everything.

        Raises:
            TlsError: something cannot be read or taken, or the own certificate is over.
        """
        authorities = load_authorities(self.ca, VARIABLES["ca"])
        if self.cert is None or self.key is None:
            return Credentials(authorities=authorities, pair=None)
        pair = load_key_pair(self.cert, self.key, names=(VARIABLES["cert"], VARIABLES["key"]))
        check_time(pair, self.cert, VARIABLES["cert"])
        return Credentials(authorities=authorities, pair=pair)
