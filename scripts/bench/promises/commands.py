"""Commands: how many a MessageChannel's UNIX socket answers, asked by one client, and how soon."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

from scripts.bench.contender import ours
from scripts.bench.promise import Figure, Promise
from scripts.bench.stage import RUN_SECONDS, stage

MANY: Final = 100_000
IN_FLIGHT: Final = 256
LEAST_RATE: Final = 20_000
ALONE: Final = 5_000
MOST_MILLISECONDS: Final = 5.0


async def measure(runs: int) -> Sequence[Figure]:
    """The medians of so many runs; client and owner have a process each, and the owner answers in one thread."""
    rate = statistics.median([await _rate(MANY, IN_FLIGHT) for _ in range(runs)])
    alone = statistics.median([1000 / await _rate(ALONE, 1) for _ in range(runs)])
    return [
        Figure(
            f"commands of one client on the UNIX socket, {IN_FLIGHT} in flight",
            "commands/s",
            rate,
            LEAST_RATE,
            more_is_better=True,
        ),
        Figure("a command there and its answer, one at a time", "ms", alone, MOST_MILLISECONDS),
    ]


async def _rate(count: int, in_flight: int) -> float:
    async with stage(ours(), "channel") as place:
        owner = await place.role("commanded")
        owner.go()
        commander = await place.role("commander", count=count, in_flight=in_flight)
        commander.go()
        figures = await commander.result(RUN_SECONDS)
    return figures["done"] / figures["seconds"]


COMMANDS = Promise("commands", measure)
