"""What can be wrong with what tokens are checked with."""

from __future__ import annotations

from trunkline.errors import TrunklineError


class KeysError(TrunklineError):
    """The keys that tokens are checked with cannot be taken. Details: setting."""

    error_code = "TOKEN_KEYS"
    status = "FAILED_PRECONDITION"

    def __init__(self, message: str) -> None:
        super().__init__(message, details={"setting": "jwt_keys"})


class KeysAwayError(TrunklineError):
    """The keys that tokens are checked with could not be fetched yet."""

    error_code = "KEYS_UNAVAILABLE"
    status = "UNAVAILABLE"
