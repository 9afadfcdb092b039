"""Configurations: blueprints with defaults, and what is wrong with them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from trunkline.agents import (
    AgentConfig,
    BaseThreadAgent,
    ComponentConfig,
    ConfigValidationError,
    LoopingConfig,
    PeriodicConfig,
    PeriodicThreadAgent,
    ValidationPolicy,
    ValidationResult,
    ValidationSeverity,
)


class Weather(PeriodicThreadAgent):
    """As programs write it: a Config within, which inherits, changes and adds."""

    class Config(PeriodicThreadAgent.Config):
        execution_interval = 0.5
        city: str = "New York"
        stations = 3

        def describe(self) -> str:
            return f"{self.city}, {self.stations} stations"

    config: Config

    def runner(self) -> None:
        return


def test_defaults_are_class_attributes() -> None:
    """Those of the base stay, others are changed or added."""
    config = Weather.Config()
    assert (config.execution_interval, config.limit, config.city, config.stations) == (0.5, -1, "New York", 3)
    assert config.describe() == "New York, 3 stations"
    assert Weather().config.execution_interval == 0.5


def test_the_constructor_overrides_by_name() -> None:
    """Of this object only."""
    config = Weather.Config(city="Rome", limit=7)
    assert (config.city, config.limit, config.execution_interval) == ("Rome", 7, 0.5)
    assert Weather.Config().city == "New York"
    assert Weather(config=config).config.city == "Rome"


def test_a_misspelt_name_is_refused_with_the_one_that_was_meant() -> None:
    """It would be a default in disguise."""
    with pytest.raises(TypeError, match=r"Weather.Config has no field 'execution_intervall'; did you mean 'execution_"):
        Weather.Config(execution_intervall=1)


def test_an_undeclared_name_is_kept_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Older programs hand over what no class declares."""
    config = Weather.Config(debug=True)
    assert config.debug is True  # type: ignore[attr-defined]
    with caplog.at_level(logging.WARNING):
        config.check("the configuration of x")
    assert "the configuration of x: debug: is declared in no class of Weather.Config" in caplog.text


def test_a_policy_may_refuse_warnings() -> None:
    """Then an undeclared name is an error."""
    config = Weather.Config(debug=True, validation_policy=ValidationPolicy(ignore_warnings=False))
    with pytest.raises(ConfigValidationError, match="debug: is declared in no class"):
        config.check("x")


def test_it_says_its_fields() -> None:
    """The most general first; methods are none."""
    names = Weather.Config.names()
    assert {"city", "stations", "limit", "heartbeat_interval"} < set(names)
    assert "describe" not in names
    assert names.index("heartbeat_interval") < names.index("limit") < names.index("city")
    assert Weather.Config(city="Rome").to_dict()["city"] == "Rome"


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (AgentConfig, {"heartbeat_interval": 0}, "heartbeat_interval: is 0, it must be a number above 0"),
        (AgentConfig, {"heartbeat_timeout": 0.5}, "heartbeat_timeout: is 0.5, it must be a number above 1"),
        (AgentConfig, {"step_timeout": -1}, "step_timeout: is -1, it must be a number above 0"),
        (AgentConfig, {"ready_timeout": "soon"}, "ready_timeout: is 'soon', it must be a number above 0"),
        (AgentConfig, {"stop_timeout": None}, "stop_timeout: is None, it must be a number above 0"),
        (LoopingConfig, {"limit": -2}, "limit: is -2, it must be a whole number, or -1 for no limit"),
        (LoopingConfig, {"limit": True}, "limit: is True"),
        (LoopingConfig, {"limit": 1.5}, "limit: is 1.5"),
        (PeriodicConfig, {"execution_interval": -0.1}, "execution_interval: is -0.1, it must be a number at least 0"),
        (AgentConfig, {"heartbeat_interval": "x"}, "heartbeat_interval: is 'x'"),
    ],
)
def test_what_is_wrong_is_named(kind: type[AgentConfig], values: dict[str, Any], message: str) -> None:
    """The field, its value and what it must be; nothing is wrong with the defaults."""
    kind().check("x")
    with pytest.raises(ConfigValidationError) as error:
        kind(**values).check("the configuration of agent 'a'")
    assert str(error.value).startswith("the configuration of agent 'a' cannot be used: ")
    assert message in str(error.value)
    assert next(iter(values)) in error.value.details


class Threshold(AgentConfig):
    """As programs write their own checks."""

    threshold: int = 10
    debug: bool = False

    def validate(self) -> list[ValidationResult]:
        results = super().validate()
        if not 0 <= self.threshold <= 30:
            results.append(ValidationResult(field="threshold", message="Threshold must be between 0 and 30."))
        if self.threshold == 13:
            results.append(ValidationResult("threshold", "never", ValidationSeverity.CRITICAL))
        if self.debug:
            results.append(ValidationResult("debug", "Debug mode is enabled.", ValidationSeverity.WARNING))
        return results


def test_warnings_and_ignored_errors_are_logged_and_let_pass(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is passed over in silence."""
    with caplog.at_level(logging.WARNING):
        Threshold(threshold=150, debug=True, validation_policy=ValidationPolicy(ignore_errors=True)).check("x")
    assert [record.getMessage() for record in caplog.records] == [
        "x: threshold: Threshold must be between 0 and 30.",
        "x: debug: Debug mode is enabled.",
    ]


def test_errors_are_told_together_with_their_severity() -> None:
    """In the order of the findings."""
    with pytest.raises(ConfigValidationError) as error:
        Threshold(threshold=150, heartbeat_interval=-1).check("x")
    assert [result.field for result in error.value.results] == ["heartbeat_interval", "threshold"]
    assert {result.severity for result in error.value.results} == {ValidationSeverity.ERROR}
    assert error.value.error_code == "INVALID_CONFIG"


def test_what_is_critical_is_never_let_pass() -> None:
    """Whatever the policy."""
    with pytest.raises(ConfigValidationError, match="never"):
        Threshold(threshold=13, validation_policy=ValidationPolicy(True, True)).check("x")


def test_a_validate_of_older_programs_that_returns_nothing_is_fine() -> None:
    """It raised what it found."""

    class Old(AgentConfig):
        def validate(self) -> list[ValidationResult]:
            super().validate()
            return None  # type: ignore[return-value]

    Old().check("x")


def test_an_agent_takes_only_the_configuration_of_an_agent() -> None:
    """A component's lacks what every agent needs."""

    class Plain(BaseThreadAgent):
        def execute(self) -> None:
            return

    with pytest.raises(TypeError, match="config of agent 'Plain' must be an AgentConfig"):
        Plain(config=ComponentConfig())  # type: ignore[arg-type]
