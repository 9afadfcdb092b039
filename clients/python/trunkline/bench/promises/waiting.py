"""Waiting: what it costs the bus that stored messages wait: nothing in memory, and little at its start."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from trunkline.bench.contender import FEW_WAITING, ours
from trunkline.bench.promise import Figure, Promise
from trunkline.bench.promises.ready import MOST_SECONDS as MOST_READY_SECONDS
from trunkline.bench.resources import resident_megabytes
from trunkline.bench.stage import stage
from trunkline.bench.works import durable, stored
from trunkline.bench.works.backlog import fill

MESSAGES: Final = 1_000_000
USED: Final = 20_000
"""Messages that are published and consumed before memory is weighed."""

MOST_MEGABYTES: Final = 10.0
"""The most that a hundred times as many messages may add: buffers and caches that few messages do not fill."""

MOST_SECONDS: Final = 3.0
DEDUP: Final = "TRUNKLINE_BUS_DEDUP_MESSAGES"
"""Memory is weighed with a window of none: message ids that are known for two minutes are bounded by themselves, but
more of them are known when more messages were published just now."""


async def measure(runs: int) -> Sequence[Figure]:
    """Memory of the bus, and its starts, with many messages waiting and with few."""
    with TemporaryDirectory(prefix="trunkline-bench-") as folder:
        few, many = Path(folder) / "few", Path(folder) / "many"
        added = -await _weigh(few, FEW_WAITING) + await _weigh(many, MESSAGES)
        ready = statistics.median([await _start(few) for _ in range(runs)])
        late = statistics.median([await _start(many) for _ in range(runs)])
    return [
        Figure(
            f"{MESSAGES:,} stored messages wait: memory of the bus, beyond {FEW_WAITING:,}", "MB", added, MOST_MEGABYTES
        ),
        Figure(f"{MESSAGES:,} stored messages wait: start of the bus", "s", late, MOST_SECONDS),
        Figure(f"{FEW_WAITING:,} stored messages wait: start of the bus", "s", ready, MOST_READY_SECONDS),
    ]


async def _weigh(folder: Path, waiting: int) -> float:
    """Memory of a bus that was filled, and has published and consumed since."""
    async with stage(replace(ours(), environment={DEDUP: "0"}), "bus", folder) as place:
        await fill(place, waiting)
        await stored.rate(place, USED, warm_up=0)
        await durable.rate(place, USED)
        return resident_megabytes(place.server_pid)


async def _start(folder: Path) -> float:
    """Seconds from the start of the program until it accepts."""
    began = time.monotonic()
    async with stage(ours(), "bus", folder):
        return time.monotonic() - began


WAITING = Promise("waiting", measure)
