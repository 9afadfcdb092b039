"""CallbackPool: daemon threads that run callbacks."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable


class CallbackPool:
    """Starts threads as they are needed, up to a maximum. Unlike the threads of `concurrent.futures`, they do not keep
    the program from ending while a callback has not returned.

    Args:
        max_workers: callbacks that run at a time; the others wait in their order.
        name: prefix of the threads' names.
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
        """Runs an action, which must not raise, in one of the threads; without effect after `close`."""
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
        """Takes no more actions, and waits until those submitted are done, `seconds` at most; returns whether they are.
        Idempotent; a caller that is one of the threads is not waited for."""
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
