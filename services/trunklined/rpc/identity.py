"""identity_of(): who makes a call, as far as that was proved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

_NAMES: Final = ("x509_subject_alternative_name", "x509_common_name")
"""Where gRPC has the names of a client's certificate: the first that is there counts (RFC 9525 takes no other)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller.

    Args:
        name: what its certificate says, which an authority signed that the service trusts. Empty: it showed none.
        peer: its address.
    """

    name: str
    peer: str

    def __str__(self) -> str:
        return f"{self.name} ({self.peer})" if self.name else self.peer


def identity_of(context: Any) -> Identity:
    """Returns who makes a call, by its gRPC context. A client's certificate has a name only where TLS asked for one."""
    proved = context.auth_context()
    named = next((names for key in _NAMES if (names := tuple(proved.get(key, ())))), (b"",))
    return Identity(named[0].decode("utf-8", "backslashreplace"), context.peer())
