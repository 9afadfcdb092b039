"""LoopThread: a thread with an event loop."""

from __future__ import annotations

import asyncio
import threading

from trunkline.sync import LoopThread


def test_what_was_offered_before_the_close_is_run() -> None:
    """In the thread, in its order; afterwards nothing is."""
    thread = LoopThread("a loop")
    ran: list[object] = []
    assert thread.offer(lambda: ran.append(threading.current_thread().name))
    assert thread.offer(ran.append, 2)
    thread.close()
    assert ran == ["a loop", 2]
    assert not thread.offer(ran.append, 3)
    thread.close()
    assert ran == ["a loop", 2]
    assert thread.loop.is_closed()


def test_it_may_be_closed_from_its_own_thread() -> None:
    """That does not wait for itself; the loop is closed at the thread's end."""
    thread = LoopThread("a loop")
    assert thread.offer(thread.close)
    thread.close()
    assert thread.loop.is_closed()


def test_cancelled_tasks_end_before_the_loop() -> None:
    """They get another turn for what they do at their end."""
    thread = LoopThread("a loop")
    ended = threading.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.set()

    working = asyncio.run_coroutine_threadsafe(work(), thread.loop)
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), thread.loop).result(10)
    working.cancel()
    thread.close()
    assert ended.is_set()
