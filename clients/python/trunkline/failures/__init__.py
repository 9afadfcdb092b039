"""What an agent does about failures: try again, stop trying for a while, tell somebody, keep what could not be done.

    handler = trunkline.ErrorHandler(bus, agent_id="coder-1", breaker=trunkline.CircuitBreaker())
    await bus.subscribe("tasks:>", handler.guard(work), durable="coders")

Read it in this order; each file is one noun:

error_codes        what an error is called, and which are tried again, refused for good, or shown to somebody
retry_policy       how often and how late it is tried again
circuit_breaker    not at all for a while, where it fails again and again
dead_letter_queue  what could not be done, with all that is known of why
error_handler      decides between these, and guards a subscription's callback
errors, limits

Each is loaded when it is first used: only the error handler needs messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trunkline.lazy_names import lazy_names

if TYPE_CHECKING:
    from trunkline.failures.circuit_breaker import CircuitBreaker as CircuitBreaker
    from trunkline.failures.circuit_breaker import CircuitState as CircuitState
    from trunkline.failures.dead_letter_queue import DeadLetterEntry as DeadLetterEntry
    from trunkline.failures.dead_letter_queue import DeadLetterQueue as DeadLetterQueue
    from trunkline.failures.error_handler import ErrorAction as ErrorAction
    from trunkline.failures.error_handler import ErrorHandler as ErrorHandler
    from trunkline.failures.errors import CircuitOpenError as CircuitOpenError
    from trunkline.failures.retry_policy import RetryPolicy as RetryPolicy

_HOMES = {
    "CircuitBreaker": "trunkline.failures.circuit_breaker",
    "CircuitOpenError": "trunkline.failures.errors",
    "CircuitState": "trunkline.failures.circuit_breaker",
    "DeadLetterEntry": "trunkline.failures.dead_letter_queue",
    "DeadLetterQueue": "trunkline.failures.dead_letter_queue",
    "ErrorAction": "trunkline.failures.error_handler",
    "ErrorHandler": "trunkline.failures.error_handler",
    "RetryPolicy": "trunkline.failures.retry_policy",
}

__all__ = [
    "CircuitBreaker",
    "CircuitOpenError",
    "CircuitState",
    "DeadLetterEntry",
    "DeadLetterQueue",
    "ErrorAction",
    "ErrorHandler",
    "RetryPolicy",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
