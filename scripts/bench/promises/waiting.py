"""Waiting: what it costs the bus that stored messages wait: nothing in memory, and little at its start."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from scripts.bench.contender import FEW_WAITING, ours
from scripts.bench.promise import Figure, Promise
from scripts.bench.promises.ready import MOST_SECONDS as MOST_READY_SECONDS
from scripts.bench.resources import resident_megabytes
from scripts.bench.stage import stage
from scripts.bench.works import durable, stored
from scripts.bench.works.backlog import fill

MESSAGES: Final = 1_000_000
USED: Final = 20_000
"""Messages that are published and consumed before memory is weighed."""

MOST_TAKEN_MEGABYTES: Final = 40.0
"""The most that a hundred times as many messages may add to a bus that took them: SQLite's page cache (16 MiB) and
buffers, which a few messages do not fill. 3,000,000 add no more than 1,000,000."""

MOST_FOUND_MEGABYTES: Final = 8.0
"""The most that they may add to a bus that was started on them."""

MOST_SECONDS: Final = 3.0
DEDUP: Final = "TRUNKLINE_BUS_DEDUP_MESSAGES"
"""Memory is weighed with a window of none: message ids that are known for two minutes are bounded by themselves, but
more of them are known when more messages were published just now."""


async def measure(runs: int) -> Sequence[Figure]:
    """Memory of the bus, and its starts, with many messages waiting and with few."""
    with TemporaryDirectory(prefix="trunkline-bench-") as folder:
        few, many = Path(folder) / "few", Path(folder) / "many"
        taken = -await _weigh(few, FEW_WAITING) + await _weigh(many, MESSAGES)
        found = -await _weigh(few, FEW_WAITING) + await _weigh(many, MESSAGES)
        slow = statistics.median([await _start(many) for _ in range(runs)])
        quick = statistics.median([await _start(few) for _ in range(runs)])
    wait = f"{MESSAGES:,} stored messages wait"
    beyond = f"beyond that with {FEW_WAITING:,}"
    return [
        Figure(f"{wait}: memory of the bus that took them, {beyond}", "MB", taken, MOST_TAKEN_MEGABYTES),
        Figure(f"{wait}: memory of a bus started on them, {beyond}", "MB", found, MOST_FOUND_MEGABYTES),
        Figure(f"{wait}: start of the bus", "s", slow, MOST_SECONDS),
        Figure(f"{FEW_WAITING:,} stored messages wait: start of the bus", "s", quick, MOST_READY_SECONDS),
    ]


async def _weigh(folder: Path, waiting: int) -> float:
    """Memory of a bus for which so many wait (what is missing is published), after some were published and consumed."""
    async with stage(replace(ours(), environment={DEDUP: "0"}), "bus", folder) as place:
        await fill(place, waiting)
        await stored.rate(place, USED, warm_up=0)
        await durable.rate(place, USED)
        return resident_megabytes(place.pids[-1])


async def _start(folder: Path) -> float:
    """Seconds from the start of the program until it answers: its port accepts before."""
    began = time.monotonic()
    async with stage(ours(), "bus", folder) as place:
        await place.peer.open("bus", place.port)
        seconds = time.monotonic() - began
        await place.peer.close()
    return seconds


WAITING = Promise("waiting", measure)
