"""Commands: how many a MessageChannel's UNIX socket answers, asked by one client that pipelines."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

from trunkline.bench.contender import ours
from trunkline.bench.promise import Figure, Promise
from trunkline.bench.stage import RUN_SECONDS, stage

ASKED: Final = 100_000
IN_FLIGHT: Final = 256
LEAST_RATE: Final = 20_000


async def measure(runs: int) -> Sequence[Figure]:
    """The median rate of so many runs; client and owner have a process each, and the owner answers in one thread."""
    rates: list[float] = []
    for _ in range(runs):
        async with stage(ours(), "channel") as place:
            owner = await place.role("commanded")
            owner.go()
            commander = await place.role("commander", count=ASKED, in_flight=IN_FLIGHT)
            commander.go()
            figures = await commander.result(RUN_SECONDS)
            rates.append(figures["done"] / figures["seconds"])
    title = f"commands of one client on the UNIX socket, {IN_FLIGHT} in flight"
    return [Figure(title, "commands/s", statistics.median(rates), LEAST_RATE, more_is_better=True)]


COMMANDS = Promise("commands", measure)
