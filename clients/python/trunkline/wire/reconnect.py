"""The delays between attempts to reconnect."""

from __future__ import annotations

import random
from collections.abc import Iterator

from trunkline.limits import RECONNECT_DELAY_MAX, RECONNECT_DELAY_MIN


def reconnect_delays() -> Iterator[float]:
    """Yields the seconds to wait before each attempt, without end; take a new iterator after a success.

    Each is random up to a bound that doubles from `RECONNECT_DELAY_MIN` to `RECONNECT_DELAY_MAX`, so that the clients
    of a service that restarts do not return all at once ("full jitter",
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    bound = RECONNECT_DELAY_MIN
    while True:
        yield random.uniform(0, bound)
        bound = min(bound * 2, RECONNECT_DELAY_MAX)
