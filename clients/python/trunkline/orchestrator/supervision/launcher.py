"""Launcher: makes agents, and starts them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from trunkline.agents import BaseAgent
from trunkline.orchestrator.registry.entry import AgentEntry
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.supervision.supervisor_loop import SupervisorLoop
from trunkline.text import error_text


class Launcher:
    """Makes and starts each agent in a thread of its own: an agent's constructor may take long or never return, which
    must not delay others.

    Args:
        loop: the thread in which the callbacks below are called.
        make: makes an agent object.
        launched: called when the agent was started.
        failed: called with the reason when the agent could not be started.
        ended: called when the thread of an agent has ended.
    """

    def __init__(
        self,
        loop: SupervisorLoop,
        make: Callable[[AgentEntry], BaseAgent],
        launched: Callable[[AgentEntry, Life, BaseAgent], object],
        failed: Callable[[AgentEntry, Life, str], object],
        ended: Callable[[AgentEntry, Life, BaseAgent], object],
    ) -> None:
        self._loop = loop
        self._make = make
        self._launched = launched
        self._failed = failed
        self._ended = ended

    def launch(self, entry: AgentEntry, life: Life) -> None:
        """Begins to start an agent; returns at once."""
        name = f"start {entry.name}"
        threading.Thread(target=self._launch, args=(entry, life), name=name, daemon=True).start()

    def _launch(self, entry: AgentEntry, life: Life) -> None:
        try:
            instance = self._make(entry)
            if entry.kind == "thread":
                life.instance = instance  # it may say that it is ready before the loop hears that it was launched
            instance.start(partial(self._loop.offer, self._ended, entry, life, instance), life.number)
        except BaseException as error:  # noqa: BLE001  # the agent's own code may raise anything
            self._loop.offer(self._failed, entry, life, f"it cannot be started: {error_text(error)}")
            return
        if not self._loop.offer(self._launched, entry, life, instance) and instance.agent_runner is not None:
            instance.agent_runner.kill()  # the orchestrator was shut down meanwhile, and would not stop it
