"""When to try again what a service refused for now."""

from __future__ import annotations

import asyncio

from trunkline.errors import OverloadedError


def wait_of(error: Exception) -> float | None:
    """Returns for how long a service refused something, in seconds; None: it did not say."""
    return error.retry_after if isinstance(error, OverloadedError) else None


async def wait_to_try_again(error: OverloadedError, deadline: float) -> None:
    """Waits for as long as the service said.

    Args:
        deadline: of the caller, by the loop's clock.

    Raises:
        OverloadedError: the service did not say for how long, or it is not over by then.
    """
    wait = error.retry_after
    if wait is None or asyncio.get_running_loop().time() + wait >= deadline:
        raise error
    await asyncio.sleep(wait)
