"""Ready: how long `trunkline up` takes until all three programs serve, the start of Python included."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

from trunkline.bench.promise import Figure, Promise
from trunkline.bench.together import together

MOST_SECONDS: Final = 2.0


async def measure(runs: int) -> Sequence[Figure]:
    """The median of so many starts."""
    seconds: list[float] = []
    for _ in range(runs):
        async with together() as programs:
            seconds.append(programs.seconds)
    return [Figure("ready after trunkline up", "s", statistics.median(seconds), MOST_SECONDS)]


READY = Promise("ready", measure)
