"""CircuitBreaker: what fails again and again is left alone for a while.

CLOSED ──5 failures in a row──▶ OPEN ──after 60 s──▶ HALF_OPEN ──2 successes──▶ CLOSED
                                 ▲                        │
                                 └───────1 failure────────┘
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import ParamSpec, TypeVar

from trunkline.failures.error_codes import REFUSED_CODES, is_among
from trunkline.failures.errors import CircuitOpenError
from trunkline.failures.limits import MAX_RETRY_DELAY
from trunkline.failures.retry_policy import check_figure

P = ParamSpec("P")
T = TypeVar("T")


class CircuitState(StrEnum):
    """Whether calls pass."""

    CLOSED = "closed"
    """All of them."""
    OPEN = "open"
    """None."""
    HALF_OPEN = "half_open"
    """One at a time, on trial."""


class CircuitBreaker:
    """One for each thing that can be down, such as a model's API; not one for each message. Of one event loop.

    What counts is how a call ends in the state that it began in: a late answer of a call from before changes nothing.

    Args:
        failure_threshold: so many failures, with no success between them, open it; from 1.
        recovery_timeout: seconds from then until it is half open, 0 to a day.
        success_threshold: so many successful trials close it again, from 1. One failed trial opens it.
        ignored_codes: errors that say nothing about what is called (its caller was wrong), by `error_code` or name of a
            class; they count neither way.
        clock, sleep: handed in by tests. The clock is in seconds and never goes back.

    Raises:
        ValueError: a figure is out of bounds.
    """

    def __init__(
        self,
        failure_threshold: int = 5,
        recovery_timeout: float = 60.0,
        success_threshold: int = 2,
        *,
        ignored_codes: frozenset[str] = REFUSED_CODES,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        check_figure("failure_threshold", failure_threshold, 1, float("inf"))
        check_figure("recovery_timeout", recovery_timeout, 0, MAX_RETRY_DELAY)
        check_figure("success_threshold", success_threshold, 1, float("inf"))
        self.failure_threshold = failure_threshold
        self.recovery_timeout = recovery_timeout
        self.success_threshold = success_threshold
        self._ignored_codes = ignored_codes
        self._clock = clock
        self._sleep = sleep
        self._state = CircuitState.CLOSED
        self._count = 0
        """Of failures in a row while closed, of successes while half open."""
        self._era = 0
        """Goes up with each change of state: what began in an earlier one does not count."""
        self._opened_at = 0.0
        self._last_error: Exception | None = None
        self._trial_ended = asyncio.Event()
        self._trial_ended.set()

    @property
    def state(self) -> CircuitState:
        """As it is now."""
        if self._state is CircuitState.OPEN and self.retry_after <= 0:
            self._enter(CircuitState.HALF_OPEN)
        return self._state

    @property
    def retry_after(self) -> float:
        """Seconds until it is half open; 0 where it is not open."""
        if self._state is not CircuitState.OPEN:
            return 0.0
        return max(0.0, self._opened_at + self.recovery_timeout - self._clock())

    async def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls an async function, and counts how that ends. A cancelled call counts neither way.

        Raises:
            CircuitOpenError: it is open, or half open with another trial running; nothing was called.
        """
        with self._counted():
            return await function(*args, **kwargs)

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `call`, for code without an event loop: calls a plain function. Of one thread."""
        with self._counted():
            return function(*args, **kwargs)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._check()
        era, is_trial = self._era, self._state is CircuitState.HALF_OPEN
        if is_trial:
            self._trial_ended.clear()
        try:
            yield
        except Exception as error:
            if era == self._era and not is_among(error, self._ignored_codes):
                self._failed(error)
            raise
        else:
            if era == self._era:
                self._succeeded()
        finally:
            if is_trial:
                self._trial_ended.set()

    async def ready(self) -> None:
        """Waits until a call would pass: at once while it is closed."""
        while True:
            if self.state is CircuitState.OPEN:
                await self._sleep(self.retry_after)
            elif not self._trial_ended.is_set():
                await self._trial_ended.wait()
            else:
                return

    def _check(self) -> None:
        state = self.state
        if state is CircuitState.CLOSED or (state is CircuitState.HALF_OPEN and self._trial_ended.is_set()):
            return
        last = f"{type(self._last_error).__name__}: {self._last_error}"
        wait = f"for {self.retry_after:.3g} s more" if state is CircuitState.OPEN else "until its trial call succeeds"
        raise CircuitOpenError(
            f"the circuit is open {wait}; it failed last with {last}",
            details={"retry_after": self.retry_after, "last_error": last},
        ) from self._last_error

    def _failed(self, error: Exception) -> None:
        self._last_error = error
        self._count += 1
        if self._state is CircuitState.HALF_OPEN or self._count >= self.failure_threshold:
            self._opened_at = self._clock()
            self._enter(CircuitState.OPEN)

    def _succeeded(self) -> None:
        if self._state is CircuitState.CLOSED:
            self._count = 0
            return
        self._count += 1
        if self._count >= self.success_threshold:
            self._enter(CircuitState.CLOSED)

    def _enter(self, state: CircuitState) -> None:
        self._state = state
        self._count = 0
        self._era += 1
