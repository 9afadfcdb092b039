"""ComponentConfig: configurations of agents and orchestrators, with class attributes as defaults."""

from __future__ import annotations

import difflib
import inspect
import logging
from typing import TYPE_CHECKING, Any

from trunkline.agents.logger import LoggerConfig
from trunkline.agents.validation import ConfigValidationError, ValidationPolicy, ValidationResult, ValidationSeverity

if TYPE_CHECKING:
    from trunkline import CircuitBreaker, RetryPolicy

_log = logging.getLogger(__name__)


class ComponentConfig:
    """A configuration. Defaults are class attributes; a subclass changes them or adds its own; the constructor
    overrides them by name.

        class Config(PeriodicAgent.Config):
            execution_interval = 0.5
            output_directory = "output"

        Config(output_directory="elsewhere")

    A name that no class of the configuration declares is kept as well; `check` warns of it.

    Attributes:
        logger_config: how much is logged.
        validation_policy: the findings that `check` only logs.

    Raises:
        TypeError: a name is not declared, and so similar to a declared one that it is probably misspelt.
    """

    logger_config: LoggerConfig = LoggerConfig()
    validation_policy: ValidationPolicy = ValidationPolicy()

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            if name not in self.names() and (meant := difflib.get_close_matches(name, self.names(), 1)):
                raise TypeError(
                    f"{type(self).__qualname__} has no field {name!r}; did you mean {meant[0]!r}? "
                    "(A field of your own is declared in the class.)"
                )
            setattr(self, name, value)

    @classmethod
    def names(cls) -> list[str]:
        """Returns the fields: all that the classes annotate or set but methods, the most general class first."""
        found: dict[str, bool] = {}
        for base in reversed(cls.__mro__[:-1]):
            found |= dict.fromkeys(inspect.get_annotations(base), True)
            found |= {name: not _is_method(value) for name, value in vars(base).items() if name not in found}
        return [name for name, is_field in found.items() if is_field and not name.startswith("_")]

    def to_dict(self) -> dict[str, Any]:
        """Returns each field with its value."""
        return {name: getattr(self, name, None) for name in self.names()}

    def validate(self) -> list[ValidationResult]:
        """Returns findings about the values. A subclass adds its own to `super().validate()`."""
        return []

    def check(self, owner: str) -> None:
        """Validates the values, and logs the findings that the policy lets pass.

        Args:
            owner: names the configuration in messages.

        Raises:
            ConfigValidationError: the policy refuses a finding.
        """
        refused = []
        for result in [*(self.validate() or ()), *self._undeclared()]:
            if self.validation_policy.refuses(result):
                refused.append(result)
            else:
                _log.warning("%s: %s: %s", owner, result.field, result.message)
        if refused:
            raise ConfigValidationError.of(owner, refused)

    def _undeclared(self) -> list[ValidationResult]:
        return [
            ValidationResult(name, f"is declared in no class of {type(self).__qualname__}", ValidationSeverity.WARNING)
            for name in sorted(vars(self).keys() - set(self.names()))
        ]

    def _require(self, name: str, lowest: float, *, above: bool = False) -> list[ValidationResult]:
        """Returns a finding where a value is no number, or not at least (or above) `lowest`."""
        value = getattr(self, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and (value > lowest if above else value >= lowest):
            return []
        bound = f"above {lowest:g}" if above else f"at least {lowest:g}"
        return [ValidationResult(name, f"is {value!r}, it must be a number {bound}")]


def _is_method(value: object) -> bool:
    return callable(value) or isinstance(value, classmethod | staticmethod | property)


class AgentConfig(ComponentConfig):
    """The configuration of every agent. Times are seconds.

    Attributes:
        heartbeat_interval: time from one heartbeat to the next.
        heartbeat_timeout: an agent that sends nothing for this long counts as hung; above the interval.
        step_timeout: bound of one step (`execute`, `runner` or `cycle`); a longer one stops the heartbeats. None: no
            bound. For work that takes minutes leave it unset, or above the longest step.
        ready_timeout: bound from the start until the agent is ready.
        stop_timeout: bound from the request to stop until the end; beyond it a process is killed.
        retry_policy: number and delay of the tries after a failed step. None: no second try.
        circuit_breaker: called in the agent to make the circuit breaker of its steps. None: no breaker.
        daemon: the agent's process ends with its owner, and may not start processes with multiprocessing itself.
    """

    heartbeat_interval: float = 1.0
    heartbeat_timeout: float = 5.0
    step_timeout: float | None = None
    ready_timeout: float = 30.0
    stop_timeout: float = 10.0
    retry_policy: RetryPolicy | None = None
    circuit_breaker: type[CircuitBreaker] | Any = None
    daemon: bool = True

    def validate(self) -> list[ValidationResult]:
        found = super().validate()
        for name in ("heartbeat_interval", "ready_timeout", "stop_timeout"):
            found += self._require(name, 0, above=True)
        if not found:
            found += self._require("heartbeat_timeout", self.heartbeat_interval, above=True)
        if self.step_timeout is not None:
            found += self._require("step_timeout", 0, above=True)
        if self.retry_policy is not None and not callable(getattr(self.retry_policy, "run", None)):
            found.append(ValidationResult("retry_policy", f"is {self.retry_policy!r}, it must be a RetryPolicy"))
        if self.circuit_breaker is not None and not callable(self.circuit_breaker):
            wrong = f"is {self.circuit_breaker!r}, it must make a CircuitBreaker when it is called, as the class does"
            found.append(ValidationResult("circuit_breaker", wrong))
        return found


class LoopingConfig(AgentConfig):
    """The configuration of a looping agent.

    Attributes:
        limit: number of turns; -1: until the agent is stopped.
    """

    limit: int = -1

    def validate(self) -> list[ValidationResult]:
        found = super().validate()
        if not isinstance(self.limit, int) or isinstance(self.limit, bool) or self.limit < -1:
            found.append(ValidationResult("limit", f"is {self.limit!r}, it must be a whole number, or -1 for no limit"))
        return found


class PeriodicConfig(LoopingConfig):
    """The configuration of a periodic agent.

    Attributes:
        execution_interval: seconds from the end of one run to the beginning of the next; 0: none.
        delay_compensation: count the interval from beginning to beginning. A run that takes longer is followed at once
            by the next; missed runs are not made up for.
    """

    execution_interval: float = 1.0
    delay_compensation: bool = False

    def validate(self) -> list[ValidationResult]:
        return super().validate() + self._require("execution_interval", 0)
