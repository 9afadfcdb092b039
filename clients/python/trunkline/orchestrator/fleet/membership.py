"""Membership: an orchestrator's part in a fleet over a state store.

It holds the lease of its orchestrator's name, watches the other orchestrators, claims agents before they are started,
and takes over spread agents whose orchestrator is gone. When the lease is lost it is taken again, and what was taken
over meanwhile is stopped here.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

from trunkline import Lease, StateManager
from trunkline.errors import StateDisconnectedError
from trunkline.orchestrator.config import OrchestratorConfig
from trunkline.orchestrator.errors import AgentElsewhereError, OrchestratorError, OrchestratorExistsError
from trunkline.orchestrator.events.event_log import EventLog
from trunkline.orchestrator.events.events import OrchestratorEvent
from trunkline.orchestrator.fleet.claims import Claims
from trunkline.orchestrator.fleet.holder import Holder
from trunkline.orchestrator.fleet.lease import OrchestratorLease
from trunkline.orchestrator.fleet.peers import Peers
from trunkline.orchestrator.fleet.pending import Pending
from trunkline.orchestrator.fleet.placement import Placement
from trunkline.orchestrator.fleet.recorder import Recorder
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
        self._lease = OrchestratorLease(state, holder, config.heartbeat_timeout)
        self._claims = Claims(holder, state)
        self.pending = Pending(holder)
        self._recorder = Recorder(
            state,
            holder,
            self._lease,
            self._claims,
            self._peers,
            self.pending,
            facts=self._facts,
            needs=graph.of,
            interval=config.heartbeat_interval,
            wrote=self._wrote,
            failed=self._failed,
            lost=self._lost,
        )
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
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watcher.run())
                await self._watcher.synced.wait()
                await self._take_lease()
                self._joined.set()
                tasks.create_task(self._recorder.run())
                tasks.create_task(self._placement.run())
                while (lease := self._lease.held) is not None:
                    await lease.ended.wait()
                    if lease.error is None:
                        break  # released at the shutdown
                    await self._rejoin(lease)
        except* OrchestratorExistsError as errors:
            self._refuse(errors.exceptions[0])

    async def _take_lease(self) -> None:
        """Takes the lease, as soon as the store is there. Raises OrchestratorExistsError."""
        failures = 0
        while True:
            try:
                await self._lease.take()
                self._is_away = False
                return
            except OrchestratorExistsError:
                raise
            except Exception as error:  # noqa: BLE001  # a store of one's own may raise anything: it is tried again
                failures += 1
                self._is_away = True
                log = _log.warning if failures == 1 else _log.debug
                log("the orchestrator's lease is not taken: %s", error)
                await asyncio.sleep(STATE_RETRY.delay(failures))

    async def _rejoin(self, lost: Lease) -> None:
        """Takes the lease again. Unless the store had it still, all claims have ended: what runs here is claimed again,
        where nobody has taken it over."""
        self._is_away = True
        _log.warning("the orchestrator's lease is lost: %s", lost.error)
        await self._take_lease()
        if self._lease.number != lost.number:
            for entry in self._registry.agents:
                if entry.is_active:
                    self.pending.changed(entry)
        self._placement.look()

    def _refuse(self, error: Exception) -> None:
        """Stops all agents: another orchestrator has the name, and may run them."""
        assert isinstance(error, OrchestratorExistsError)
        self._refused = error
        self._is_away = False  # it answered
        self._joined.set()
        _log.error("%s; this one is not part of the fleet", error)
        for entry in self._registry.agents:
            if entry.is_active:
                self._give_up(entry, error.message)

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
                    await self._lease.release()
            except Exception as error:  # noqa: BLE001  # as above, but it ends
                _log.warning("the state store did not take the last states: %s", error or "it did not answer")
        self._lease.abandon()
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
            await self._wait_joined()
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

    async def _wait_joined(self) -> None:
        """Waits until the lease is taken or refused: one of a dead orchestrator may have to end first."""
        while not self._joined.is_set():
            if self._is_away:
                raise StateDisconnectedError("the state store is away")
            with suppress(TimeoutError):
                async with asyncio.timeout(CLAIM_SECONDS):
                    await self._joined.wait()

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
        }

    def _candidates(self) -> list[AgentEntry]:
        """Returns the spread agents that do not run here."""
        return [entry for entry in self._registry.agents if entry.is_spread and not entry.is_active]

    def _load(self) -> float:
        facts = self._facts()
        load: float = (facts["running_count"] + facts["waiting_count"]) / facts["max_workers"]
        return load

    def _wrote(self) -> None:
        self._is_away = False
        self._placement.wake()

    def _failed(self) -> None:
        self._is_away = True

    def _lost(self, entry: AgentEntry, other: Holder) -> None:
        """Stops an agent that another orchestrator has taken over, while this one was not heard of."""
        self._give_up(entry, f"orchestrator {other.name!r} on {other.host} runs it too, and has taken it over")

    def _give_up(self, entry: AgentEntry, why: str) -> None:
        entry.note_error(why)
        self._event_log.record(OrchestratorEvent.AGENT_ERROR, entry.name, error_message=why)
        self._supervisor.stop(entry.name)


def _log_end(lived: Future[None]) -> None:
    """Logs an end that `close` did not cause, which is an error."""
    if not lived.cancelled() and (error := lived.exception()) is not None:
        _log.error("nothing is written to the state store any more", exc_info=error)
