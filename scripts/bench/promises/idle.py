"""Idle: what each program costs at rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Final

from scripts.bench.promise import Figure, Promise
from scripts.bench.resources import cpu_seconds, resident_megabytes
from trunkline.programs import PROGRAMS, LocalStack

MOST_MEGABYTES: Final = 80.0
MOST_PERCENT: Final = 1.0
SETTLE_SECONDS: Final = 2.0
"""What a start may leave to do."""

SECONDS: Final = 10.0
"""How long they are watched: a share of 1% is ten ticks of Linux's clock."""


async def measure(_: int) -> Sequence[Figure]:
    """Memory and share of a core of each program, over some seconds of rest."""
    with TemporaryDirectory(prefix="trunkline-bench-") as folder:
        async with LocalStack(folder, programs=PROGRAMS) as stack:
            return await _weigh({program.name: program.pid for program in stack.programs.values()})


async def _weigh(pids: Mapping[str, int]) -> Sequence[Figure]:
    await asyncio.sleep(SETTLE_SECONDS)
    used = {name: cpu_seconds(pid) for name, pid in pids.items()}
    began = time.monotonic()
    await asyncio.sleep(SECONDS)
    seconds = time.monotonic() - began
    figures: list[Figure] = []
    for name, pid in pids.items():
        percent = 100 * (cpu_seconds(pid) - used[name]) / seconds
        figures.append(Figure(f"idle {name}: memory", "MB", resident_megabytes(pid), MOST_MEGABYTES))
        figures.append(Figure(f"idle {name}: share of a core", "%", percent, MOST_PERCENT))
    return figures


IDLE = Promise("idle", measure)
