"""StepRunner: the steps of an agent's work, with the retries and the circuit breaker of its configuration."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from trunkline.agents.config import AgentConfig
from trunkline.agents.errors import StepInterruptedError

if TYPE_CHECKING:
    from trunkline import CircuitBreaker

T = TypeVar("T")


class StepRunner:
    """Runs the steps of one life of an agent.

    Args:
        agent: its name.
        config: has `retry_policy`, `circuit_breaker` and `step_timeout`.
        stop_event: ends a wait for the next try.
    """

    def __init__(self, agent: str, config: AgentConfig, stop_event: threading.Event) -> None:
        self._agent = agent
        self._config = config
        self._stop_event = stop_event
        self._began: float | None = None
        self._breaker: CircuitBreaker | None = None

    def run(self, step: Callable[[], T]) -> T:
        """Runs a step, and again where the retry policy says so.

        Raises:
            StepInterruptedError: the agent was asked to stop before the next try.
            The error of the last try.
        """
        if self._breaker is None and self._config.circuit_breaker is not None:
            self._breaker = self._config.circuit_breaker()
        policy = self._config.retry_policy
        return self._try(step) if policy is None else replace(policy, pause=self._pause).run(self._try, step)

    @property
    def is_overdue(self) -> bool:
        """Whether the present try has taken longer than `step_timeout`."""
        began, limit = self._began, self._config.step_timeout
        return began is not None and limit is not None and time.monotonic() - began > limit

    def _try(self, step: Callable[[], T]) -> T:
        breaker = self._breaker
        while breaker is not None and breaker.retry_after > 0:
            self._pause(breaker.retry_after)
        self._began = time.monotonic()
        try:
            return step() if breaker is None else breaker.run(step)
        finally:
            self._began = None

    def _pause(self, seconds: float) -> None:
        if self._stop_event.wait(seconds):
            raise StepInterruptedError(
                f"agent {self._agent!r} was stopped before its next try", details={"agent": self._agent}
            )
