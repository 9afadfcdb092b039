"""ThreadRunner: runs anything that is Runnable."""

from __future__ import annotations

import threading

from trunkline.agents.runner import ThreadRunner
from trunkline.agents.state_events import StateEvents


class Waiting:
    """Runs until it is asked to stop."""

    def __init__(self) -> None:
        self.name = "waiting"
        self.failure: str | None = None
        self.has_ended = threading.Event()
        self.state_events = StateEvents()
        self._asked = threading.Event()

    def run(self) -> None:
        assert self._asked.wait(10)
        self.failure = "stopped"
        self.has_ended.set()

    def asked_to_stop(self) -> None:
        self._asked.set()


def test_a_thread_runs_until_it_is_asked_to_stop() -> None:
    """`on_end` is called in it; it cannot be killed; its failure is the agent's."""
    agent = Waiting()
    ended_in: list[str] = []
    runner = ThreadRunner(agent, lambda: ended_in.append(threading.current_thread().name))
    runner.start()
    assert runner.is_alive()
    assert not runner.join(0)
    assert not runner.kill()
    runner.ask_to_stop()
    assert runner.join(10)
    runner.reap()
    assert (runner.is_alive(), runner.failure(), ended_in) == (False, "stopped", ["waiting"])
