"""Membership: an orchestrator's part in a fleet over a state store.

It writes heartbeats to the state store, watches the other orchestrators, claims agents before they are started, and
takes over spread agents whose orchestrator is dead.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, TypeVar

from trunkline import StateManager
from trunkline.errors import StateDisconnectedError
from trunkline.orchestrator.config import OrchestratorConfig
from trunkline.orchestrator.errors import AgentElsewhereError, OrchestratorError, OrchestratorExistsError
from trunkline.orchestrator.events.event_log import EventLog
from trunkline.orchestrator.events.events import OrchestratorEvent
from trunkline.orchestrator.fleet.claims import Claims
from trunkline.orchestrator.fleet.peers import Peers
from trunkline.orchestrator.fleet.pending import Pending
from trunkline.orchestrator.fleet.placement import Placement
from trunkline.orchestrator.fleet.recorder import Recorder
from trunkline.orchestrator.fleet.records import Holder
from trunkline.orchestrator.fleet.store import STATE_RETRY
from trunkline.orchestrator.fleet.watcher import FleetWatcher
from trunkline.orchestrator.limits import CLAIM_SECONDS, RECORD_CLOSE_SECONDS
from trunkline.orchestrator.registry.dependencies import DependencyGraph
from trunkline.orchestrator.registry.entry import AgentEntry
from trunkline.orchestrator.registry.registry import AgentRegistry
from trunkline.orchestrator.supervision.supervisor import Supervisor
from trunkline.sync import Background

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Membership:
    """The membership of one orchestrator. Any thread may call the public methods.

    Args:
        state: the store.
        is_shared: the store was connected by others, in the loop of `trunkline.sync`, and stays so.
        holder: the orchestrator.
        config: its configuration.
        registry: its agents.
        graph: their dependencies.
        event_log: its events.
        supervisor: starts and stops the agents.
    """

    def __init__(
        self,
        state: StateManager,
        is_shared: bool,
        holder: Holder,
        config: OrchestratorConfig,
        registry: AgentRegistry,
        graph: DependencyGraph,
        event_log: EventLog,
        supervisor: Supervisor,
    ) -> None:
        self._state = state
        self._is_shared = is_shared
        self._config = config
        self._registry = registry
        self._event_log = event_log
        self._supervisor = supervisor
        self._started_at = datetime.now(UTC)
        self._peers = Peers()
        self._claims = Claims(holder, self._peers, state)
        self.pending = Pending(holder)
        self._recorder = Recorder(
            state,
            holder,
            self._claims,
            self.pending,
            facts=self._facts,
            needs=graph.of,
            interval=config.heartbeat_interval,
            wrote=self._wrote,
            failed=self._failed,
            lost=self._lost,
        )
        self._wrote_at = time.monotonic()
        self._is_away = False
        self._joined = asyncio.Event()
        self._refused: OrchestratorExistsError | None = None
        self._placement = Placement(
            holder,
            self._peers,
            state,
            candidates=self._candidates,
            load=self._load,
            take=lambda name: self._start([name], anew=False),
        )
        self._watcher = FleetWatcher(state, holder, self._peers, config.heartbeat_interval, self._placement.wake)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._background = Background()
        self._background.open()
        self._background.submit(self._run(self._live())).add_done_callback(_log_end)

    def start(self, names: list[str]) -> Future[str]:
        """Claims agents and their dependencies, and starts them here.

        Raises (the future):
            AgentElsewhereError: another orchestrator runs one of them; none is started.
            OrchestratorExistsError: this orchestrator's name is taken.
            OrchestratorError: the store is away, and one of them is spread.
            CancelledError: the membership was closed meanwhile.
        """
        return self._background.submit(self._run(self._start(names, anew=True)))

    def serve(self, names: Iterable[str] = ()) -> None:
        """Takes over spread agents of others from now on, and has these agents run somewhere in the fleet."""
        if self._background.loop is not None:
            self._background.loop.call_soon_threadsafe(self._placement.serve, list(names))

    def release(self, names: Iterable[str]) -> None:
        """Lets other orchestrators take these agents when they have ended here. To be called before a shutdown."""
        self._placement.stop()
        self._recorder.release(names)

    def close(self) -> None:
        """Writes the last states, RECORD_CLOSE_SECONDS at most, and ends. Idempotent."""
        if self._background.loop is None:
            return
        self._background.submit(self._close()).result()
        self._background.close()

    # From connecting to closing.

    async def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine that `close` cancels."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await coroutine

    async def _live(self) -> None:
        await self._connect()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watcher.run())
            await self._watcher.synced.wait()
            self._refused = await self._watcher.meet_namesake()
            self._joined.set()
            if self._refused is not None:
                _log.error("%s; this one is not part of the fleet", self._refused)
            else:
                tasks.create_task(self._recorder.run())
                tasks.create_task(self._placement.run())
                tasks.create_task(self._watcher.forget_the_dead())

    async def _connect(self) -> None:
        attempt = 0
        while True:
            try:
                await self._state.connect()
                self._is_away = False
                return
            except Exception as error:  # noqa: BLE001  # a store of one's own may raise anything: it is tried again
                attempt += 1
                self._is_away = True
                _log.warning("the state store is not reached: %s", error)
                await asyncio.sleep(STATE_RETRY.delay(attempt))

    async def _close(self) -> None:
        if self._joined.is_set() and self._refused is None:
            try:
                async with asyncio.timeout(RECORD_CLOSE_SECONDS):
                    await self._recorder.close()
            except Exception as error:  # noqa: BLE001  # as above, but it ends
                _log.warning("the state store did not take the last states: %s", error or "it did not answer")
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if not self._is_shared:
            await self._state.disconnect()

    # Starting.

    async def _start(self, names: list[str], *, anew: bool) -> str:
        entries = self._supervisor.to_start(names)
        await self._claim(entries, anew)
        try:
            return await asyncio.wrap_future(self._supervisor.start(names))
        finally:
            self._recorder.settle(entries)

    async def _claim(self, entries: list[AgentEntry], anew: bool) -> None:
        try:
            if self._is_away:
                raise StateDisconnectedError("the state store is away")
            async with asyncio.timeout(CLAIM_SECONDS):
                await self._watcher.synced.wait()
            await self._joined.wait()
            if self._refused is not None:
                raise self._refused
            if entries:
                async with asyncio.timeout(CLAIM_SECONDS):
                    await self._recorder.claim(entries, anew=anew)
        except (AgentElsewhereError, OrchestratorExistsError):
            raise
        except Exception as error:
            names = ", ".join(entry.name for entry in entries)
            spread = [entry.name for entry in entries if entry.is_spread]
            if spread:
                raise OrchestratorError(
                    f"agent {spread[0]!r} may run elsewhere, and the state store, which knows, did not answer",
                    details={"agent": spread[0]},
                ) from error
            _log.warning("started without knowing whether others run them: %s", names or "no agent")

    def _facts(self) -> dict[str, Any]:
        """Returns what the orchestrator's own record says of it."""
        config = self._config
        return {
            "running_count": self._supervisor.running_count,
            "waiting_count": self._supervisor.waiting_count + self._claims.count,
            "max_workers": config.max_workers,
            "agents": len(self._registry),
            "pid": os.getpid(),
            "started_at": self._started_at.isoformat(),
            "command_socket": config.command_socket_path if config.enable_command_interface else None,
            "heartbeat_interval": config.heartbeat_interval,
            "heartbeat_timeout": config.heartbeat_timeout,
        }

    def _candidates(self) -> list[AgentEntry]:
        """Returns the spread agents that do not run here."""
        return [entry for entry in self._registry.agents if entry.is_spread and not entry.is_active]

    def _load(self) -> float:
        facts = self._facts()
        load: float = (facts["running_count"] + facts["waiting_count"]) / facts["max_workers"]
        return load

    def _wrote(self, seconds: float) -> None:
        now = time.monotonic()
        gap, self._wrote_at = now - self._wrote_at, now
        self._is_away = False
        self._peers.in_contact(
            without_a_break=seconds <= self._config.heartbeat_interval and gap <= self._config.heartbeat_timeout
        )
        self._placement.wake()

    def _failed(self) -> None:
        self._is_away = True
        self._wrote_at = float("-inf")  # an outage: silence meanwhile does not mean death

    def _lost(self, entry: AgentEntry, other: Holder) -> None:
        """Stops an agent that another orchestrator has taken over, while this one was not heard of."""
        why = f"orchestrator {other.name!r} on {other.host} runs it too, and has taken it over"
        entry.note_error(why)
        self._event_log.record(OrchestratorEvent.AGENT_ERROR, entry.name, error_message=why)
        self._supervisor.stop(entry.name)


def _log_end(lived: Future[None]) -> None:
    """Logs an end that `close` did not cause, which is an error."""
    if not lived.cancelled() and (error := lived.exception()) is not None:
        _log.error("nothing is written to the state store any more", exc_info=error)
