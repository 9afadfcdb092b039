"""Witness: hears what an orchestrator tells, and waits for it."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

from tests.orchestrator import crew
from tests.patience import PATIENCE
from trunkline.agents import AgentConfig, BaseAgent
from trunkline.orchestrator import Orchestrator, OrchestratorEvent

Facts = dict[str, Any]


class Witness:
    """Of one orchestrator."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self.orchestrator = orchestrator
        self._changed = threading.Condition()
        self._heard: list[tuple[OrchestratorEvent, Facts, float]] = []
        for event in OrchestratorEvent:
            orchestrator.register_event(event, partial(self._hear, event))

    def _hear(self, event: OrchestratorEvent, **facts: Any) -> None:
        with self._changed:
            self._heard.append((event, facts, time.monotonic()))
            self._changed.notify_all()

    def heard(self, event: OrchestratorEvent, agent: str | None = None) -> list[Facts]:
        """What came with each such event so far; the newest may not have come yet."""
        with self._changed:
            return [facts for which, facts, _ in self._heard if which is event and facts.get("agent_name") == agent]

    def told(self, event: OrchestratorEvent, agent: str | None = None) -> list[Facts]:
        """What the history has with each such event: everything that has been told. It keeps no heartbeats."""
        records = self.orchestrator.event_store.query(agent=agent, type=event.name)
        return [record.details for record in records if record.agent == agent]

    def wait(self, event: OrchestratorEvent, agent: str | None = None, count: int = 1) -> Facts:
        """Returns when an event has come so often, with what came with the last of these."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self.heard(event, agent)) >= count, PATIENCE)
            assert came, f"{event.name} of {agent} came {len(self.heard(event, agent))} times; heard: {self._heard}"
            return self.heard(event, agent)[count - 1]

    def seconds_until(self, event: OrchestratorEvent, agent: str, since: float) -> float:
        """How long after a moment (monotonic) the first such event after it came."""
        with self._changed:

            def later() -> list[float]:
                return [
                    at for which, f, at in self._heard if which is event and f["agent_name"] == agent and at >= since
                ]

            assert self._changed.wait_for(later, PATIENCE), f"{event.name} of {agent} never came"
            return later()[0] - since

    def types(self, agent: str | None = None) -> list[str]:
        """What the history has of an agent, in order."""
        return [record.type for record in self.orchestrator.event_store.query() if record.agent == agent]

    def rows(self) -> dict[str, dict[str, Any]]:
        """What `ps` says, by agent."""
        return {row["agent_name"]: row for row in self.orchestrator.reporting.ps()["agents"]}

    def state(self, agent: str) -> str:
        """What `ps` says of where an agent stands."""
        state: str = self.rows()[agent]["state"]
        return state

    def until(self, agent: str, state: str) -> None:
        """Returns when an agent stands there."""
        end = time.monotonic() + PATIENCE
        while self.state(agent) != state:
            assert time.monotonic() < end, f"{agent} is {self.state(agent)}, not {state}: {self.types(agent)}"
            time.sleep(0.005)


def pid_of(witness: Witness, agent: str) -> int:
    """Of its process, which runs."""
    pid = witness.orchestrator.memory.get_agent(agent).pid
    assert pid is not None
    return pid


def started(witness: Witness, agent: type[BaseAgent], config: AgentConfig = crew.PATIENT, **kwargs: Any) -> Witness:
    """An agent "a" that was started alone."""
    witness.orchestrator.register_agent(agent, "a", config, **kwargs)
    witness.orchestrator.start()
    return witness
