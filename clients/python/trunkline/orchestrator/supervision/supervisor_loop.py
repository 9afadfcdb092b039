"""SupervisorLoop: the thread of the supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from trunkline.orchestrator.errors import OrchestratorError
from trunkline.sync import LoopThread

T = TypeVar("T")


class SupervisorLoop(LoopThread):
    """A thread with an event loop, whose callbacks run one after the other. After `close`, `call` and `ask` raise, so
    that no caller waits for an answer that never comes."""

    # What any thread may call.

    def call(self, action: Callable[..., object], *arguments: Any) -> None:
        """Runs an action in the thread, soon.

        Raises:
            OrchestratorError: the loop is closed.
        """
        if not self.offer(action, *arguments):
            raise OrchestratorError("the orchestrator has been shut down")

    def ask(self, action: Callable[[], T]) -> Future[T]:
        """Runs an action in the thread; the future gets its return value, or its exception. Raises as `call`."""
        done: Future[T] = Future()
        self.call(settle, done, lambda: done.set_result(action()))
        return done

    def pass_on(self, done: Future[T]) -> Future[T]:
        """Returns a future with the same outcome whose callbacks are called in the thread; where the loop is closed by
        then, in the thread that settles `done`."""
        passed: Future[T] = Future()

        def pass_it(done: Future[T]) -> None:
            action = partial(settle, passed, lambda: passed.set_result(_result(done)))
            if not self.offer(action):
                action()

        done.add_done_callback(pass_it)
        return passed

    # What its own callbacks may call.

    def later(self, seconds: float, action: Callable[..., object], *arguments: Any) -> asyncio.TimerHandle:
        """Runs an action after some seconds, unless the timer is cancelled."""
        return self.loop.call_later(seconds, action, *arguments)

    def when_readable(self, descriptor: int, action: Callable[..., object], *arguments: Any) -> None:
        """Runs an action whenever a descriptor is readable, until `forget`."""
        self.loop.add_reader(descriptor, action, *arguments)

    def forget(self, descriptor: int) -> None:
        """Undoes `when_readable`."""
        self.loop.remove_reader(descriptor)


def settle(done: Future[Any], action: Callable[[], object]) -> None:
    """Runs an action that sets a future; the future gets its exception."""
    if not done.set_running_or_notify_cancel():
        return
    try:
        action()
    except Exception as error:  # the caller of `result` gets it
        if done.done():
            raise
        done.set_exception(error)


def _result(done: Future[T]) -> T:
    if done.cancelled():
        raise OrchestratorError("the orchestrator was shut down meanwhile")
    return done.result()
