"""CallbackPool: daemon threads in which callbacks run."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable


class CallbackPool:
    """As many threads as are needed at a time, up to a maximum. `concurrent.futures` has one too, but its threads hold
    up the end of the program for as long as one callback does not return.

    Args:
        max_workers: callbacks that run at a time; the others wait in their order.
        name: of its threads.
    """

    def __init__(self, max_workers: int, name: str) -> None:
        self._max_workers = max_workers
        self._name = name
        self._changed = threading.Condition(threading.Lock())
        self._waiting: deque[Callable[[], object]] = deque()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._is_closed = False

    def submit(self, action: Callable[[], object]) -> None:
        """Runs an action, which must not raise, in one of the threads; nothing where it is closed."""
        with self._changed:
            if self._is_closed:
                return
            self._waiting.append(action)
            if len(self._waiting) > self._idle and len(self._threads) < self._max_workers:
                name = f"{self._name}-{len(self._threads)}"
                self._threads.append(threading.Thread(target=self._run, name=name, daemon=True))
                self._threads[-1].start()
            else:
                self._changed.notify()

    def close(self, seconds: float) -> bool:
        """Takes nothing any more, and waits until what was submitted is done; says whether it is. Idempotent; where one
        of its own threads calls, that one is not waited for."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        until = time.monotonic() + seconds
        others = [thread for thread in self._threads if thread is not threading.current_thread()]
        for thread in others:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in others)

    def _run(self) -> None:
        while (action := self._next()) is not None:
            action()

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            while not self._waiting:
                if self._is_closed:
                    return None
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            return self._waiting.popleft()
