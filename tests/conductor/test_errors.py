"""ConductorError and what programs do with it."""

from __future__ import annotations

import pytest

from tests.conductor.conftest import Pair
from tests.contract.inbox import numbered
from trunkline import ConductorError, DeadLetterEntry, MessageBusError, StateError, TrunklineError


class QuotaError(ConductorError):
    """A program's own error, as it was derived there."""

    def __init__(self, message: str, agent_id: str) -> None:
        super().__init__(message=message, error_code="QUOTA", details={"agent_id": agent_id})
        self.agent_id = agent_id


def test_it_describes_itself() -> None:
    """By position and by name; `to_dict` says error_type, message, error_code and details."""
    for error in (
        ConductorError("no more tokens", "QUOTA", {"left": 0}),
        ConductorError(message="no more tokens", error_code="QUOTA", details={"left": 0}),
    ):
        assert str(error) == "no more tokens"
        assert error.to_dict() == {
            "error_type": "TrunklineError",
            "message": "no more tokens",
            "error_code": "QUOTA",
            "details": {"left": 0},
        }


def test_a_class_below_it_is_called_by_its_own_name() -> None:
    """In `to_dict`, and in what an error handler keeps."""
    error = QuotaError("no more tokens", agent_id="coding-01")
    assert (error.to_dict()["error_type"], error.error_code) == ("QuotaError", "QUOTA")
    entry = DeadLetterEntry.of(error, agent_id="coding-01")
    assert (entry.error_type, entry.error_code, entry.error_details) == ("QuotaError", "QUOTA", error.details)


def test_it_is_the_root_of_all() -> None:
    """`except ConductorError` catches what bus and store raise."""
    assert ConductorError is TrunklineError
    assert issubclass(MessageBusError, ConductorError)
    assert issubclass(StateError, ConductorError)


async def test_it_catches_what_a_bus_and_a_store_raise(pair: Pair, name: str) -> None:
    """By the codes that people know."""
    with pytest.raises(ConductorError) as caught:
        await pair.new_bus().publish(name, numbered(1))
    assert caught.value.error_code == "BUS_NOT_CONNECTED"
    with pytest.raises(ConductorError) as caught:
        await pair.new_state().get_agent_state(name)
    assert caught.value.error_code == "STATE_NOT_CONNECTED"
