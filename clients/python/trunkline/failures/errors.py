"""What a circuit breaker raises by itself.

TrunklineError
└── CircuitOpenError    CIRCUIT_OPEN
"""

from __future__ import annotations

from trunkline.errors import TrunklineError


class CircuitOpenError(TrunklineError):
    """Nothing was called: it failed too often of late. Details: retry_after, in seconds (0: a trial call is running),
    and last_error."""

    error_code = "CIRCUIT_OPEN"
    figures = frozenset({"retry_after"})
