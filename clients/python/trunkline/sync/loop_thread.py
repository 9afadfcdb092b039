"""LoopThread: a thread with an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Final

_SETTLE_SECONDS: Final = 1.0
"""Time that cancelled tasks get to end before their loop is closed."""


class LoopThread:
    """A daemon thread that runs an event loop, from the constructor until `close`. Any thread may call.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._calling = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, action: Callable[..., object], *arguments: Any) -> bool:
        """Runs an action in the thread, soon; returns False, and runs nothing, after `close`."""
        with self._calling:
            if not self._is_closed:
                self.loop.call_soon_threadsafe(action, *arguments)
            return not self._is_closed

    def close(self) -> None:
        """Ends the thread when it has run what was offered, and waits for that unless it is the caller; idempotent."""
        with self._calling:
            if not self._is_closed:
                self._is_closed = True
                asyncio.run_coroutine_threadsafe(self._stop_settled(), self.loop)
        if self._thread is not threading.current_thread():
            self._thread.join()

    async def _stop_settled(self) -> None:
        """Stops the loop when its cancelled tasks have ended: grpc's calls need another turn, and asyncio logs an error
        for a task whose loop is closed."""
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        if rest:
            await asyncio.wait(rest, timeout=_SETTLE_SECONDS)
        self.loop.stop()

    def _run(self) -> None:
        self.loop.run_forever()
        self.loop.close()
