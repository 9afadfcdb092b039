"""What an error is called, and what follows from the name."""

from __future__ import annotations

from typing import Final

RETRYABLE_CODES: Final = frozenset(
    {
        "BUS_DISCONNECTED",
        "STATE_DISCONNECTED",
        "OVERLOADED",
        "REQUEST_TIMEOUT",
        "NO_RESPONDERS",
        "REVISION_MISMATCH",
        "ConnectionError",
        "TimeoutError",
    }
)
"""It may go well in a moment."""

REFUSED_CODES: Final = frozenset({"INVALID_CHANNEL", "INVALID_MESSAGE", "INVALID_RECORD", "MESSAGE_TOO_LARGE"})
"""It can never go well, whoever tries it: what was asked for is wrong."""

ESCALATED_CODES: Final = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "STORAGE", "INTERNAL"})
"""It cannot go well until somebody has mended something: a right that is missing, a file, a service."""


def code_of(error: BaseException) -> str:
    """Its `error_code`, such as "REQUEST_TIMEOUT"; of one that has none, the name of its class."""
    code = getattr(error, "error_code", None)
    return code if isinstance(code, str) and code else type(error).__name__


def is_among(error: BaseException, codes: frozenset[str]) -> bool:
    """Whether an error's code, or the name of one of its classes, is among these: "ConnectionError" stands for
    ConnectionRefusedError too. Never so of what is no Exception: a cancellation is not an error."""
    if not isinstance(error, Exception):
        return False
    return code_of(error) in codes or any(cls.__name__ in codes for cls in type(error).__mro__)
