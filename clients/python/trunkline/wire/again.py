"""When to try again what a service refused for now."""

from __future__ import annotations

from trunkline.errors import OverloadedError


def wait_of(error: Exception) -> float | None:
    """Returns for how long a service refused something, in seconds; None: it did not say."""
    return error.retry_after if isinstance(error, OverloadedError) else None
