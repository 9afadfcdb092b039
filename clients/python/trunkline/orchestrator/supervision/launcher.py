"""Launcher: makes agents and starts them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from trunkline.agents import BaseAgent
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.registry import AgentEntry
from trunkline.orchestrator.supervision.loop_thread import LoopThread


class Launcher:
    """Each launch has a thread of its own while it lasts: an agent's constructor may take its time, or never return,
    and that must hold up nobody. What comes of it is said in the loop's thread.

    Args:
        make: makes an agent's object.
        launched: called when it has started.
        failed: called when that went wrong, with a sentence that says so.
        ended: called when it runs in a thread, which has ended.
    """

    def __init__(
        self,
        loop: LoopThread,
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
        """Begins to; returns at once."""
        name = f"start {entry.name}"
        threading.Thread(target=self._launch, args=(entry, life), name=name, daemon=True).start()

    def _launch(self, entry: AgentEntry, life: Life) -> None:
        try:
            instance = self._make(entry)
            instance.start(partial(self._loop.offer, self._ended, entry, life, instance), life.number)
        except BaseException as error:  # noqa: BLE001  # the agent's own code: it fails, and the orchestrator goes on
            self._loop.offer(self._failed, entry, life, f"it cannot be started: {type(error).__name__}: {error}")
            return
        if not self._loop.offer(self._launched, entry, life, instance) and instance.agent_runner is not None:
            instance.agent_runner.kill()  # the orchestrator was shut down meanwhile: nobody is there who would stop it
