"""JwtTerms: what a token that somebody else signs must say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

HTTPS: Final = "https://"
"""What the address of keys begins with that are fetched."""
FETCH_SECONDS: Final = 5.0
"""So long a fetch may take."""
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Those that can be allowed: each has a public key. `none` has no key, and whoever can check an HMAC can make one."""
DEFAULT_ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtTerms:
    """What a token must say.

    Args:
        algorithms: that may have signed it.
        issuer: who.
        audience: for whom.
        identity_claim: which claim names the caller.
        required_claims: those that must be there besides.
    """

    algorithms: Sequence[str] = DEFAULT_ALGORITHMS
    issuer: str
    audience: str
    identity_claim: str = "sub"
    required_claims: Sequence[str] = ()
