"""RetryPolicy: how often and how late what failed is tried again."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar, cast

from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from trunkline.delivery import Backoff
from trunkline.failures.error_codes import RETRYABLE_CODES, code_of, is_among
from trunkline.failures.limits import MAX_RETRIES, MAX_RETRY_DELAY

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """One that can be shared: it holds nothing of the calls that it repeats.

    Args:
        max_retries: how often it is tried again after the first time, 0 to 1,000.
        initial_delay: seconds before the first retry.
        max_delay: seconds before any retry at the most, jitter included; up to a day.
        multiplier: each delay is so many times the one before, from 1.
        jitter: up to this share of a delay is added at random, 0 to 1, so that many agents do not come back at once.
        retryable_codes: errors that are tried again: by their `error_code`, or by the name of a class, which stands for
            its subclasses too. All others are raised at once.
        sleep, pause, random: handed in by tests; `call` sleeps, `run` pauses.

    Raises:
        ValueError: a figure is out of bounds.
    """

    max_retries: int = 3
    initial_delay: float = 1.0
    max_delay: float = 60.0
    multiplier: float = 2.0
    jitter: float = 0.1
    retryable_codes: frozenset[str] = RETRYABLE_CODES
    sleep: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep, repr=False, compare=False)
    pause: Callable[[float], object] = field(default=time.sleep, repr=False, compare=False)
    random: Callable[[], float] = field(default=random.random, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_figure("max_retries", self.max_retries, 0, MAX_RETRIES)
        check_figure("max_delay", self.max_delay, 0, MAX_RETRY_DELAY)
        check_figure("initial_delay", self.initial_delay, 0, self.max_delay)
        check_figure("multiplier", self.multiplier, 1, float("inf"))
        check_figure("jitter", self.jitter, 0, 1)

    def is_retryable(self, error: BaseException) -> bool:
        """Whether an error is one of those that are tried again."""
        return is_among(error, self.retryable_codes)

    def delay(self, attempt: int) -> float:
        """Seconds to wait after the attempt of that number failed, from 1."""
        plain = Backoff(self.initial_delay, self.multiplier, self.max_delay).delay(attempt)
        return min(self.max_delay, plain * (1 + self.jitter * self.random()))

    async def call(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls an async function until it returns, and returns that.

        Raises:
            The last error, where it is not retryable or was retried `max_retries` times.
        """
        return cast(T, await AsyncRetrying(sleep=self.sleep, **self._rules())(function, *args, **kwargs))

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `call`, for code without an event loop: calls a plain function, and waits in this thread."""
        return Retrying(sleep=cast(Any, self.pause), **self._rules())(function, *args, **kwargs)

    def _rules(self) -> dict[str, Any]:
        return {
            "stop": stop_after_attempt(self.max_retries + 1),
            "wait": lambda state: self.delay(state.attempt_number),
            "retry": retry_if_exception(self.is_retryable),
            "before_sleep": _tell,
            "reraise": True,
        }


def check_figure(name: str, value: float, lowest: float, highest: float) -> None:
    """Raises ValueError where a figure is out of bounds, or no number at all."""
    if not lowest <= value <= highest:  # also true of NaN
        raise ValueError(f"{name} is {value:g}, it must be between {lowest:g} and {highest:g}")


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    if error is not None:
        log.warning(
            "attempt %d failed with %s (%s); the next comes in %.3g s",
            state.attempt_number,
            code_of(error),
            error,
            state.upcoming_sleep,
        )
