"""Orchestrator: how soon an agent's event reaches a callback, and what an orchestrator costs at rest."""

from __future__ import annotations

import asyncio
import logging
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Final

from scripts.bench.promise import Figure, Promise
from trunkline.agents import PeriodicProcessAgent
from trunkline.message_channel import ServiceMessage
from trunkline.orchestrator import Orchestrator, OrchestratorEvent

EVENTS: Final = 300
PAUSE: Final = 0.01
"""Seconds between two events: each finds an orchestrator that waits, as real ones do."""

MOST_MILLISECONDS: Final = 5.0
MOST_PERCENT: Final = 1.0
SETTLE_SECONDS: Final = 1.0
SECONDS: Final = 10.0
"""How long it is watched at rest."""

PATIENCE: Final = 60.0


class Caller(PeriodicProcessAgent):
    """Says what time it is, again and again; the clock is the same for all processes of a machine."""

    class Config(PeriodicProcessAgent.Config):
        execution_interval = PAUSE
        limit = EVENTS

    def runner(self) -> None:
        self.send_message(ServiceMessage(self.name, "STATUS", str(time.monotonic())))


class Sleeper(PeriodicProcessAgent):
    """Has nothing to do; its heartbeats come once a second."""

    class Config(PeriodicProcessAgent.Config):
        execution_interval = 3600.0

    def runner(self) -> None:
        return


async def measure(runs: int) -> Sequence[Figure]:
    """The median of the medians of so many runs, and of one rest."""
    logging.getLogger("trunkline").setLevel(logging.WARNING)
    milliseconds = statistics.median([await asyncio.to_thread(_event) for _ in range(runs)])
    percent = await asyncio.to_thread(_rest)
    return [
        Figure(
            "an agent's event to its callback, with the command interface on", "ms", milliseconds, MOST_MILLISECONDS
        ),
        Figure("an orchestrator at rest with five agents: share of a core", "%", percent, MOST_PERCENT),
    ]


def _event() -> float:
    """Milliseconds from a process that sends a message to the callback that gets it."""
    taken: list[float] = []
    with _orchestrator() as orchestrator:

        def on_message(message: str) -> None:
            taken.append(time.monotonic() - float(message))

        orchestrator.register_event(OrchestratorEvent.AGENT_MESSAGE, on_message)
        orchestrator.register_agent(Caller, "caller")
        orchestrator.start()
        if not orchestrator.join(PATIENCE):
            raise TimeoutError(f"{EVENTS} events took more than {PATIENCE:g} s")
    if len(taken) != EVENTS:  # all have come by now: the shutdown waits for callbacks
        raise RuntimeError(f"{len(taken)} of {EVENTS} events came")
    return statistics.median(taken) * 1000


def _rest() -> float:
    """Percent of a core that it takes at rest; its agents' processes are not counted."""
    with _orchestrator() as orchestrator:
        ready = threading.Semaphore(0)
        orchestrator.register_event(OrchestratorEvent.AGENT_READY, ready.release)
        for number in range(5):
            orchestrator.register_agent(Sleeper, f"sleeper-{number}")
        orchestrator.start()
        for _ in range(5):
            if not ready.acquire(timeout=PATIENCE):
                raise TimeoutError(f"five agents were not ready within {PATIENCE:g} s")
        time.sleep(SETTLE_SECONDS)
        began, used = time.monotonic(), time.process_time()
        time.sleep(SECONDS)
        return 100 * (time.process_time() - used) / (time.monotonic() - began)


@contextmanager
def _orchestrator() -> Iterator[Orchestrator]:
    with TemporaryDirectory(prefix="trunkline-bench-") as folder:
        config = Orchestrator.Config(enable_command_interface=True, command_socket_path=f"{folder}/o.sock")
        with Orchestrator(config) as orchestrator:
            yield orchestrator


ORCHESTRATOR = Promise("orchestrator", measure)
