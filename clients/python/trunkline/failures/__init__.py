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
"""

from trunkline.failures.circuit_breaker import CircuitBreaker, CircuitState
from trunkline.failures.dead_letter_queue import DeadLetterEntry, DeadLetterQueue
from trunkline.failures.error_handler import ErrorAction, ErrorHandler
from trunkline.failures.errors import CircuitOpenError
from trunkline.failures.retry_policy import RetryPolicy

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
