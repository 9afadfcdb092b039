"""EventManager: who is called, with what, where and in which order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date, time
from enum import StrEnum
from functools import partial
from typing import Any

import pytest

from tests.orchestrator import crew
from tests.orchestrator.conftest import MakeWitness
from tests.patience import PATIENCE
from trunkline.agents import AgentEvent
from trunkline.orchestrator import EventManager, OrchestratorEvent
from trunkline.orchestrator.events import events as events_module

STARTED, READY = OrchestratorEvent.AGENT_STARTED, OrchestratorEvent.AGENT_READY


@pytest.fixture
def manager() -> Iterator[EventManager]:
    manager = EventManager()
    yield manager
    manager.shutdown(wait=False)


class Called:
    """Remembers its calls, and can be waited for."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self._changed = threading.Condition()

    def note(self, **facts: Any) -> None:
        with self._changed:
            self.calls.append(facts)
            self._changed.notify_all()

    def wait(self, count: int = 1) -> list[dict[str, Any]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.calls) >= count, PATIENCE)
            return self.calls


def test_a_callback_gets_what_it_names(manager: EventManager) -> None:
    """Some, all or nothing of what came with the event."""
    called = Called()

    def some(agent_name: str) -> None:
        called.note(some=agent_name)

    def nothing() -> None:
        called.note(nothing=True)

    def defaults(agent_name: str, colour: str = "red", *, event_time: str) -> None:
        called.note(agent_name=agent_name, colour=colour, is_time=bool(time.fromisoformat(event_time)))

    def everything(**facts: Any) -> None:
        called.note(**facts)

    for callback in (some, nothing, defaults, everything):
        manager.register_event(STARTED, callback)
    manager.emit(STARTED, agent_name="a", number=7)
    calls = called.wait(4)
    assert {"some": "a"} in calls
    assert {"nothing": True} in calls
    assert {"agent_name": "a", "colour": "red", "is_time": True} in calls
    whole = next(call for call in calls if "number" in call)
    assert whole.keys() == {"agent_name", "number", "event_date", "event_time"}


def test_the_date_and_the_time_are_said(manager: EventManager) -> None:
    """As text, of this machine."""
    called = Called()
    manager.register_event(STARTED, called.note)
    before = date.today()
    manager.emit(STARTED)
    call = called.wait()[0]
    assert before <= date.fromisoformat(call["event_date"]) <= date.today()
    assert time.fromisoformat(call["event_time"])


def test_a_callback_that_needs_more_than_there_is_hits_nobody(
    manager: EventManager, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the others are called."""
    called = Called()
    manager.register_event(STARTED, lambda agent_name, unknown: None)
    manager.register_event(STARTED, called.note)
    manager.emit(STARTED, agent_name="a")
    called.wait()
    manager.shutdown()
    assert "missing 1 required positional argument: 'unknown'" in caplog.text


def test_callbacks_run_off_the_emitting_thread(manager: EventManager) -> None:
    """`emit` returns at once, whatever they do."""
    go_on = threading.Event()
    called = Called()

    def slow() -> None:
        go_on.wait(PATIENCE)
        called.note(thread=threading.current_thread())

    manager.register_event(STARTED, slow)
    manager.emit(STARTED)
    assert called.calls == []
    go_on.set()
    assert called.wait()[0]["thread"] is not threading.current_thread()


def test_an_exception_is_logged_and_hits_nobody_else(manager: EventManager, caplog: pytest.LogCaptureFixture) -> None:
    """Not the other callbacks, and not its own next call."""
    called = Called()

    def fail(number: int) -> None:
        called.note(failed=number)
        raise RuntimeError(f"number {number} was bad")

    manager.register_event(STARTED, fail)
    manager.register_event(STARTED, called.note)
    for number in range(2):
        manager.emit(STARTED, number=number)
    called.wait(4)
    manager.shutdown()
    assert "number 0 was bad" in caplog.text
    assert "number 1 was bad" in caplog.text


def test_a_slow_callback_delays_nobody_else(manager: EventManager) -> None:
    """Others get all events meanwhile; it gets its own later."""
    go_on = threading.Event()
    slow, quick = Called(), Called()

    def wait(number: int) -> None:
        go_on.wait(PATIENCE)
        slow.note(number=number)

    manager.register_event(STARTED, wait)
    manager.register_event(STARTED, quick.note)
    for number in range(200):
        manager.emit(STARTED, number=number)
    assert [call["number"] for call in quick.wait(200)] == list(range(200))
    assert slow.calls == []
    go_on.set()
    assert [call["number"] for call in slow.wait(200)] == list(range(200))


def test_one_callback_gets_its_events_in_their_order_and_one_at_a_time(manager: EventManager) -> None:
    """Also events of several kinds, from several threads."""
    inside = threading.Lock()
    called = Called()

    def one_at_a_time(number: int) -> None:
        assert inside.acquire(blocking=False)
        called.note(number=number)
        inside.release()

    for event in (STARTED, READY):
        manager.register_event(event, one_at_a_time)
    for number in range(500):
        manager.emit((STARTED, READY)[number % 2], number=number)
    assert [call["number"] for call in called.wait(500)] == list(range(500))


def test_a_callback_that_is_registered_twice_is_called_twice(manager: EventManager) -> None:
    """As it was asked for."""
    called = Called()
    for _ in range(2):
        manager.register_event(STARTED, called.note)
    manager.emit(STARTED)
    assert len(called.wait(2)) == 2


def test_methods_partials_and_builtins_can_be_registered(manager: EventManager) -> None:
    """Whatever can be called; what cannot is refused."""
    from functools import partial

    called = Called()
    manager.register_event(STARTED, partial(called.note, extra=1))
    manager.register_event(STARTED, dict)  # has no signature that can be read
    manager.emit(STARTED, agent_name="a")
    assert called.wait()[0]["extra"] == 1
    with pytest.raises(TypeError, match="callback must be callable, not 'print'"):
        manager.register_event(STARTED, "print")  # type: ignore[arg-type]


def test_what_cannot_be_hashed_can_be_registered(manager: EventManager) -> None:
    """An object that is called, and compared by its values."""

    class Board(list[str]):
        def __call__(self, agent_name: str) -> None:
            called.note(agent_name=agent_name)

    called = Called()
    manager.register_event(STARTED, Board())
    manager.emit(STARTED, agent_name="a")
    assert called.wait() == [{"agent_name": "a"}]


def test_a_callback_that_never_returns_bounds_the_shutdown(
    orchestrate: MakeWitness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left behind after a while; the others have been told everything."""
    monkeypatch.setattr(events_module, "CALLBACK_GRACE", 0.3)
    witness = orchestrate(event_workers=2)
    go_on = threading.Event()
    witness.orchestrator.register_event(READY, lambda agent_name: go_on.wait())
    witness.orchestrator.register_agent(crew.ThreadDone, "a")
    witness.orchestrator.start()
    assert witness.orchestrator.join(PATIENCE)
    witness.orchestrator.shutdown()
    assert "callbacks did not return within 0.3 s" in caplog.text
    assert witness.heard(OrchestratorEvent.ALL_AGENTS_TERMINATED)
    go_on.set()


def test_a_callback_may_emit_and_register(manager: EventManager) -> None:
    """Without a deadlock."""
    called = Called()

    def follow() -> None:
        manager.register_event(READY, called.note)
        manager.emit(READY, number=2)

    manager.register_event(STARTED, follow)
    manager.emit(STARTED)
    assert called.wait()[0]["number"] == 2


def test_events_that_nobody_waits_for_are_fine(manager: EventManager) -> None:
    """And so are those after the end."""
    manager.emit(READY, agent_name="a")
    called = Called()
    manager.register_event(STARTED, called.note)
    manager.emit(STARTED)
    manager.shutdown()
    assert len(called.calls) == 1
    manager.emit(STARTED)
    manager.shutdown()
    assert len(called.calls) == 1


def test_a_callback_that_never_keeps_up_loses_the_newest_and_is_told(
    manager: EventManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the bound, counted; everybody else gets everything."""
    monkeypatch.setattr(events_module, "MAX_WAITING_EVENTS", 10)
    go_on, begun = threading.Event(), threading.Event()
    slow = Called()

    def wait(number: int) -> None:
        begun.set()
        go_on.wait(PATIENCE)
        slow.note(number=number)

    manager.register_event(STARTED, wait)
    manager.emit(STARTED, number=0)
    assert begun.wait(PATIENCE)
    for number in range(1, 16):
        manager.emit(STARTED, number=number)
    assert manager.dropped == 5
    go_on.set()
    assert [call["number"] for call in slow.wait(11)] == list(range(11))
    assert caplog.text.count("newer ones are dropped") == 1


def test_a_callback_may_command_the_orchestrator(orchestrate: MakeWitness) -> None:
    """Start, stop and shut down from within a callback, without a deadlock."""
    witness = orchestrate()
    orchestrator = witness.orchestrator
    orchestrator.register_agent(crew.ThreadWaiter, "a")
    orchestrator.register_agent(crew.ThreadWaiter, "b")
    orchestrator.register_event(READY, lambda agent_name: agent_name == "a" and orchestrator.start_agent("b"))
    orchestrator.register_event(READY, lambda agent_name: agent_name == "b" and orchestrator.stop_agent("a"))
    orchestrator.register_event(OrchestratorEvent.AGENT_TERMINATED, orchestrator.shutdown)
    orchestrator.start_agent("a")
    assert orchestrator.wait(PATIENCE)
    assert [witness.state(name) for name in "ab"] == ["stopped", "stopped"]


class Own(StrEnum):
    """A program's own events, one of them by the name and value of an orchestrator's."""

    AGENT_ERROR = "agent_error"


class Other(StrEnum):
    """The same again, in another enum."""

    AGENT_ERROR = "agent_error"


def _note(called: Called, number: int, of: str) -> None:
    called.note(number=number, of=of)


def test_members_of_different_enums_are_different_events(manager: EventManager) -> None:
    """Whatever their names and values: the member counts."""
    called = Called()
    members = [OrchestratorEvent.AGENT_ERROR, AgentEvent.AGENT_ERROR, Own.AGENT_ERROR, Other.AGENT_ERROR]
    for number, member in enumerate(members):
        manager.register_event(member, partial(_note, called, number))
    for member in members:
        manager.emit(member, of=repr(member))
    manager.shutdown()
    assert sorted(called.calls, key=lambda call: call["number"]) == [
        {"number": number, "of": repr(member)} for number, member in enumerate(members)
    ]


def test_what_is_no_event_is_refused(manager: EventManager) -> None:
    """A name alone does not say of which enum."""
    not_an_event: Any = "AGENT_ERROR"
    with pytest.raises(TypeError, match="event must be a member of an enum"):
        manager.register_event(not_an_event, print)
    with pytest.raises(TypeError, match="event must be a member of an enum"):
        manager.emit(not_an_event)
