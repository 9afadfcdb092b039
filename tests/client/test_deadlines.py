"""One timer for the deadlines of many calls."""

from __future__ import annotations

import asyncio

from tests.patience import PATIENCE
from trunkline.wire.deadlines import Deadlines


async def test_each_call_ends_at_its_own_deadline_in_any_order() -> None:
    """Those that are late, and no others; with what they were added with."""
    loop = asyncio.get_running_loop()
    ended: list[tuple[int, str]] = []
    all_ended = asyncio.Event()

    def expire(id: int, name: str) -> None:
        assert loop.time() >= begun + delays[id]
        ended.append((id, name))
        if len(ended) == 3:
            all_ended.set()

    deadlines = Deadlines(expire)
    begun = loop.time()
    delays = {1: 0.03, 2: 0.01, 3: 0.02}
    for id, delay in delays.items():
        deadlines.add(loop, id, begun + delay, f"call {id}")
    deadlines.add(loop, 4, begun + 0.005, "done in time")
    deadlines.add(loop, 5, begun + 1_000, "far away")
    deadlines.remove(4)
    async with asyncio.timeout(PATIENCE):
        await all_ended.wait()
    assert sorted(ended) == [(1, "call 1"), (2, "call 2"), (3, "call 3")]
    deadlines.close()


async def test_many_calls_take_one_timer() -> None:
    """However many there were, and none when nothing is open any more."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(print)
    for id in range(1_000):
        deadlines.add(loop, id, loop.time() + 1_000)
        deadlines.remove(id)
    timers = [each for each in loop._scheduled if not each.cancelled()]  # type: ignore[attr-defined]  # asyncio's own
    assert len([each for each in timers if "Deadlines" in repr(each)]) == 1
    deadlines.close()
    assert not [each for each in loop._scheduled if "Deadlines" in repr(each) and not each.cancelled()]  # type: ignore[attr-defined]


def test_another_loop_may_follow() -> None:
    """The timer of a loop that is closed is forgotten."""
    ended: list[int] = []
    deadlines = Deadlines(ended.append)

    async def first() -> None:
        deadlines.add(asyncio.get_running_loop(), 1, asyncio.get_running_loop().time() + 1_000)

    async def second() -> None:
        loop = asyncio.get_running_loop()
        begun, late = loop.time(), asyncio.Event()
        deadlines.remove(1)
        deadlines.add(loop, 2, begun)
        loop.call_at(begun, late.set)  # after it
        async with asyncio.timeout(PATIENCE):
            await late.wait()

    asyncio.run(first())
    asyncio.run(second())
    assert ended == [2]
