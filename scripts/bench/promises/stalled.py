"""Stalled: a subscriber that stops reading while a million messages pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from scripts.bench.contender import ours
from scripts.bench.promise import Figure, Promise
from scripts.bench.promises.idle import MOST_MEGABYTES
from scripts.bench.resources import peak_megabytes
from scripts.bench.stage import RUN_SECONDS, stage
from trunkline.limits import MiB

MESSAGES: Final = 1_000_000
BATCH: Final = 10_000
"""Published and taken by the service before the next: as fast as it takes them, not as fast as a buffer does."""

QUEUE_MEGABYTES: Final = 110 * MiB / 1e6
"""The most that the queue of a subscriber that does not read takes, as limits.MAX_QUEUED_BYTES says."""


async def measure(_: int) -> Sequence[Figure]:
    """The service's peak of memory, what a second subscriber lost, and losses that the first was not notified of."""
    async with stage(ours(), "bus") as place:
        stalled = await place.role("stalled", count=MESSAGES)
        other = await place.role("subscriber", count=MESSAGES)
        publisher = await place.role("publisher", count=MESSAGES, batch=BATCH)
        other.go()
        publisher.go()
        await publisher.result(RUN_SECONDS)
        got = await other.result(RUN_SECONDS)
        peak = peak_megabytes(place.pids[-1])
        stalled.go()
        late = await stalled.result(RUN_SECONDS)
    passed = f"{MESSAGES:,} messages pass one that never reads"
    return [
        Figure(f"{passed}: memory of the bus", "MB", peak, MOST_MEGABYTES + QUEUE_MEGABYTES),
        Figure(f"{passed}: lost by another subscriber", "messages", MESSAGES - got["received"], 0),
        Figure(f"{passed}: its losses that it is not told", "messages", MESSAGES - late["received"] - late["lost"], 0),
    ]


STALLED = Promise("stalled", measure)
