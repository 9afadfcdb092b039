"""LoopThread: an event loop in a thread, whose callbacks are run one after the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from trunkline.orchestrator.errors import OrchestratorError

T = TypeVar("T")


class LoopThread:
    """A daemon thread; sleeps until a timer is due, a descriptor is readable, or somebody calls.

    What was called before `close` is still run; after it, `call` and `ask` raise. So nobody waits for an answer that
    never comes.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._calling = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    # What any thread may call.

    def call(self, action: Callable[..., object], *arguments: Any) -> None:
        """Runs an action there, soon.

        Raises:
            OrchestratorError: it is closed.
        """
        if not self.offer(action, *arguments):
            raise OrchestratorError("the orchestrator has been shut down")

    def offer(self, action: Callable[..., object], *arguments: Any) -> bool:
        """As `call`; False where it is closed."""
        with self._calling:
            if not self._is_closed:
                self._loop.call_soon_threadsafe(action, *arguments)
            return not self._is_closed

    def ask(self, action: Callable[[], T]) -> Future[T]:
        """As `call`; the future has what the action returned or raised."""
        done: Future[T] = Future()
        self.call(settle, done, lambda: done.set_result(action()))
        return done

    def pass_on(self, done: Future[T]) -> Future[T]:
        """The same future, but its callbacks are called there; where it is closed by then, wherever it is done."""
        passed: Future[T] = Future()

        def pass_it(done: Future[T]) -> None:
            action = partial(settle, passed, lambda: passed.set_result(_result(done)))
            if not self.offer(action):
                action()

        done.add_done_callback(pass_it)
        return passed

    def close(self) -> None:
        """Ends it, when it has run what was called; idempotent. Not from its own callbacks."""
        with self._calling:
            if not self._is_closed:
                self._is_closed = True
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    # What its own callbacks may call.

    def later(self, seconds: float, action: Callable[..., object], *arguments: Any) -> asyncio.TimerHandle:
        """Runs an action in so many seconds, unless the timer is cancelled."""
        return self._loop.call_later(seconds, action, *arguments)

    def when_readable(self, descriptor: int, action: Callable[..., object], *arguments: Any) -> None:
        """Runs an action whenever a descriptor is readable, until `forget`."""
        self._loop.add_reader(descriptor, action, *arguments)

    def forget(self, descriptor: int) -> None:
        """Undoes `when_readable`."""
        self._loop.remove_reader(descriptor)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()


def settle(done: Future[Any], action: Callable[[], object]) -> None:
    """Runs an action that sets a future; what it raises, the future has."""
    if not done.set_running_or_notify_cancel():
        return
    try:
        action()
    except Exception as error:  # whoever asked gets it
        if done.done():
            raise
        done.set_exception(error)


def _result(done: Future[T]) -> T:
    if done.cancelled():
        raise OrchestratorError("the orchestrator was shut down meanwhile")
    return done.result()
