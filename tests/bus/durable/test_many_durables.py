"""Many durable subscriptions that want the same: a publish does not write to each of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.bus.durable.bus import Bus, Gate
from tests.bus.durable.calls import create, eventually, get, store_all

MANY = 1_000


async def test_a_stored_publish_costs_little_where_many_durables_match(
    socket_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of those that it is for follow, some with each commit, all within seconds; what waits is right at once
    and after a restart."""
    gate = Gate().install(monkeypatch)
    async with Bus(socket_dir) as bus:
        for start in range(0, MANY, 100):
            await asyncio.gather(*(create(bus.stub, f"d{n}", ">") for n in range(start, start + 100)))
        gate.batches.clear()
        await store_all(bus.stub, "a", range(3))
        for n in range(20):
            await store_all(bus.stub, "a", [n])
        assert sum(len(batch.durables) for batch in gate.batches) < 20 * MANY / 2
        assert (await get(bus.stub, f"d{MANY - 1}")).waiting == 23
        await eventually(lambda: _written(gate), lambda count: count == MANY)


async def test_what_waits_is_counted_again_after_a_kill(socket_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a row does not say yet what was stored for it."""
    monkeypatch.setattr("trunklined.bus.journal.pipeline.COUNTED_AT_ONCE", 2)
    monkeypatch.setattr("trunklined.bus.journal.housekeeping.TICK_SECONDS", 3600)
    async with Bus(socket_dir) as bus:
        for n in range(10):
            await create(bus.stub, f"d{n}", "a" if n % 2 else ">")
        await store_all(bus.stub, "a", range(5))
        await store_all(bus.stub, "b", range(2))
        for suffix in ("", "-wal"):
            copy = socket_dir / f"copy.db{suffix}"
            copy.write_bytes((socket_dir / f"bus.db{suffix}").read_bytes())
    copied = Bus(socket_dir)
    copied.path = socket_dir / "copy.db"
    async with copied:
        assert [(await get(copied.stub, f"d{n}")).waiting for n in range(10)] == [7, 5] * 5


async def _written(gate: Gate) -> int:
    return len({row.name for batch in gate.batches for row in batch.durables if row.waiting == 23})
