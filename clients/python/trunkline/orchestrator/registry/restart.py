"""RestartPolicy: whether and when an agent that has ended is started again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, get_args

from trunkline import Backoff
from trunkline.errors import TrunklineError

When = Literal["never", "on_failure", "always"]


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """What the supervisor does with an agent that has ended by itself. An agent that was stopped stays stopped.

    Args:
        when: never; on_failure: after an exception, a kill, a hang, or where it was never ready; always: also after it
            ended well.
        max_restarts: restarts within `within` seconds; an agent that ends once more stays down, as failed.
        within: seconds that a restart counts for.
        initial_delay, multiplier, max_delay: seconds before the first restart within that time, factor of each next
            delay, and longest delay.

    Raises:
        ValueError: a value is out of bounds.
    """

    when: When = "never"
    max_restarts: int = 5
    within: float = 60.0
    initial_delay: float = 0.1
    multiplier: float = 2.0
    max_delay: float = 30.0

    def __post_init__(self) -> None:
        if self.when not in get_args(When):
            raise ValueError(f"when is {self.when!r}, it must be never, on_failure or always")
        for name, lowest in (("max_restarts", 0), ("within", 0), ("initial_delay", 0), ("multiplier", 1)):
            if not getattr(self, name) >= lowest:
                raise ValueError(f"{name} is {getattr(self, name)!r}, it must be at least {lowest}")
        if not self.max_delay >= self.initial_delay:
            raise ValueError(
                f"max_delay is {self.max_delay!r}, it must be at least initial_delay, {self.initial_delay}"
            )

    @classmethod
    def of(cls, policy: RestartPolicy | When) -> RestartPolicy:
        """Returns a policy unchanged, or the default policy of a name."""
        return policy if isinstance(policy, RestartPolicy) else cls(policy)

    def wants(self, *, failed: bool) -> bool:
        """Tells whether an agent is restarted after a failure, or after it ended well."""
        return self.when == "always" or (self.when == "on_failure" and failed)


class Restarts:
    """The restarts of one agent."""

    def __init__(self, policy: RestartPolicy) -> None:
        self.policy = policy
        self.count = 0
        """Restarts so far."""
        self._recent: deque[float] = deque()

    def next_delay(self, now: float) -> float:
        """Counts one more restart, and returns its delay in seconds.

        Raises:
            TooManyRestartsError: the limit is reached; the restart is not counted.
        """
        policy = self.policy
        while self._recent and self._recent[0] <= now - policy.within:
            self._recent.popleft()
        if len(self._recent) >= policy.max_restarts:
            raise TooManyRestartsError(f"{policy.max_restarts} restarts within {policy.within:g} s are enough")
        backoff = Backoff(policy.initial_delay, policy.multiplier, policy.max_delay)
        delay = backoff.delay(len(self._recent) + 1)
        self._recent.append(now)
        self.count += 1
        return delay


class TooManyRestartsError(TrunklineError):
    """An agent has reached the limit of restarts, and stays down."""

    error_code = "TOO_MANY_RESTARTS"
