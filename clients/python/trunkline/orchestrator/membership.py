"""Membership: one orchestrator's part in a fleet.

It tells the state store that it lives, watches who else does, claims agents before they are started, and takes over
those that may run anywhere when their orchestrator is gone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import psutil

from trunkline import AgentState, AgentStatus, ChangeType, RetryPolicy, StateManager
from trunkline.errors import StateDisconnectedError
from trunkline.orchestrator.claims import Claims
from trunkline.orchestrator.errors import AgentElsewhereError, OrchestratorError, OrchestratorExistsError
from trunkline.orchestrator.limits import (
    CLAIM_SECONDS,
    MAX_CLOCK_SKEW,
    RECORD_CLOSE_SECONDS,
    RECORD_RETRY_MAX,
    RECORD_RETRY_MIN,
)
from trunkline.orchestrator.memory import AgentEntry
from trunkline.orchestrator.placement import Placement
from trunkline.orchestrator.recorder import Recorder
from trunkline.orchestrator.records import ORCHESTRATOR, Holder, holder_of, is_orchestrator
from trunkline.orchestrator.roster import Roster, beats, peer_of
from trunkline.sync import Background

_log = logging.getLogger(__name__)

_RETRY = RetryPolicy(initial_delay=RECORD_RETRY_MIN, max_delay=RECORD_RETRY_MAX)


class Member(Protocol):
    """What the membership asks of its orchestrator, in its own thread."""

    def facts(self) -> dict[str, Any]:
        """What its record says of it: `max_workers`, `running_count`, `waiting_count` and so on."""

    def needs(self, name: str) -> list[str]:
        """What an agent depends on."""

    def to_start(self, names: Sequence[str]) -> list[AgentEntry]:
        """Which agents would be started, for these to run."""

    def anywhere(self) -> list[AgentEntry]:
        """The agents that may run anywhere in the fleet, and do not run here."""

    def launch(self, names: list[str]) -> Future[str]:
        """Starts agents here."""

    def lost(self, entry: AgentEntry, other: Holder) -> None:
        """An agent that runs here runs elsewhere too, and belongs there."""


class Membership:
    """Of one orchestrator. Its public methods may be called by any thread.

    Args:
        state: the store.
        is_shared: others have connected the store, in the faces' loop, and it stays so.
        holder: the orchestrator.
        interval: seconds from one of its heartbeats to the next.
        timeout: how long others wait for one.
    """

    def __init__(
        self,
        state: StateManager,
        is_shared: bool,
        holder: Holder,
        member: Member,
        interval: float,
        timeout: float,
    ) -> None:
        self._state = state
        self._is_shared = is_shared
        self._holder = holder
        self._member = member
        self._interval = interval
        self._timeout = timeout
        self._roster = Roster()
        self._claims = Claims(holder, self._roster, state)
        self.recorder = Recorder(
            state,
            holder,
            self._claims,
            facts=self._facts,
            needs=member.needs,
            interval=interval,
            wrote=self._wrote,
            failed=self._failed,
            lost=member.lost,
        )
        self._wrote_at = time.monotonic()
        self._is_away = False
        self._synced = asyncio.Event()
        self._joined = asyncio.Event()
        self._namesake: AgentState | None = None
        self._namesake_beat = asyncio.Event()
        self._refused: OrchestratorExistsError | None = None
        self._placement = Placement(
            holder,
            self._roster,
            state,
            anywhere=member.anywhere,
            load=self._load,
            take=lambda name: self._start([name], anew=False),
        )
        self._background = Background()
        self._background.open()
        self._living = self._background.submit(self._live())

    def start(self, names: list[str]) -> Future[str]:
        """Claims agents, and what they need, and starts them here.

        Raises (the future):
            AgentElsewhereError: another orchestrator runs one of them; none is started.
            OrchestratorExistsError: this orchestrator's name is taken.
            OrchestratorError: the store is away, and one of them may run anywhere.
        """
        return self._background.submit(self._start(names, anew=True))

    def serve(self, names: Iterable[str] = ()) -> None:
        """From now on it takes over agents of others; and these agents, which may run anywhere, shall run somewhere."""
        if self._background.loop is not None:
            self._background.loop.call_soon_threadsafe(self._placement.serve, list(names))

    def release(self, names: Iterable[str]) -> None:
        """It is about to shut down, and these agents shall go on elsewhere."""
        self._placement.stop()
        self.recorder.release(names)

    def close(self) -> None:
        """Writes the last states, waits for that a moment, and ends. Idempotent."""
        if self._background.loop is None:
            return
        self._background.submit(self._close()).result()
        self._background.close()

    # Its life.

    async def _live(self) -> None:
        await self._connect()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            await self._synced.wait()
            await self._meet_namesake()
            self._joined.set()
            if self._refused is None:
                tasks.create_task(self.recorder.run())
                tasks.create_task(self._placement.run())

    async def _connect(self) -> None:
        attempt = 0
        while True:
            try:
                await self._state.connect()
                return
            except Exception as error:  # noqa: BLE001  # a store of one's own may raise anything: it is tried again
                attempt += 1
                self._is_away = True
                _log.warning("the state store is not reached: %s", error)
                await asyncio.sleep(_RETRY.delay(attempt))

    async def _close(self) -> None:
        if self._joined.is_set() and self._refused is None:
            try:
                async with asyncio.timeout(RECORD_CLOSE_SECONDS):
                    await self.recorder.close()
            except Exception as error:  # noqa: BLE001  # as above, but it ends
                _log.warning("the state store did not take the last states: %s", error or "it did not answer")
        self._living.cancel()
        await asyncio.wait([asyncio.wrap_future(self._living)])
        if not self._is_shared:
            await self._state.disconnect()

    # Starting.

    async def _start(self, names: list[str], *, anew: bool) -> str:
        entries = self._member.to_start(names)
        if entries:
            await self._claim(entries, anew)
        try:
            return await asyncio.wrap_future(self._member.launch(names))
        finally:
            self.recorder.settle(entries)

    async def _claim(self, entries: list[AgentEntry], anew: bool) -> None:
        try:
            if self._is_away:
                raise StateDisconnectedError("the state store is away")
            async with asyncio.timeout(CLAIM_SECONDS):
                await self._synced.wait()
            await self._joined.wait()
            if self._refused is not None:
                raise self._refused
            async with asyncio.timeout(CLAIM_SECONDS):
                await self.recorder.claim(entries, anew=anew)
        except (AgentElsewhereError, OrchestratorExistsError):
            raise
        except Exception as error:
            spread = [entry.name for entry in entries if entry.is_spread]
            if spread:
                raise OrchestratorError(
                    f"agent {spread[0]!r} may run elsewhere, and the state store, which knows, did not answer",
                    details={"agent": spread[0]},
                ) from error
            _log.warning(
                "started without knowing whether others run them: %s", ", ".join(each.name for each in entries)
            )

    def _facts(self) -> dict[str, Any]:
        facts = self._member.facts()
        return {
            **facts,
            "waiting_count": facts["waiting_count"] + self._claims.count,
            "heartbeat_interval": self._interval,
            "heartbeat_timeout": self._timeout,
        }

    def _load(self) -> float:
        facts = self._facts()
        load: float = (facts["running_count"] + facts["waiting_count"]) / facts["max_workers"]
        return load

    def _wrote(self, seconds: float) -> None:
        now = time.monotonic()
        gap, self._wrote_at = now - self._wrote_at, now
        self._is_away = False
        self._roster.in_contact(without_a_break=seconds <= self._interval and gap <= self._timeout)
        self._placement.stir()

    def _failed(self) -> None:
        self._is_away = True
        self._wrote_at = float("-inf")  # a break: who was silent meanwhile may not be dead

    # Who else there is.

    async def _watch(self) -> None:
        attempt = 0
        while True:
            try:
                await self._follow()
            except NotImplementedError:
                await self._look_around()
            except Exception as error:  # noqa: BLE001  # as above
                attempt += 1
                _log.warning("the fleet cannot be watched: %s", error)
            await asyncio.sleep(_RETRY.delay(max(1, attempt)))

    async def _follow(self) -> None:
        async for change in self._state.watch("agent_state", type=ORCHESTRATOR):
            if isinstance(change.record, AgentState) and is_orchestrator(change.record):
                self._saw(change.record)
            elif change.type is ChangeType.SYNCED:
                self._synced.set()
            elif change.id is not None:
                self._roster.gone(change.id)
            self._placement.stir()

    async def _look_around(self) -> None:
        """For a store that cannot be watched: looks once in each heartbeat interval."""
        while True:
            try:
                for record in await self._state.list_agent_states():
                    if is_orchestrator(record):
                        self._saw(record)
                self._synced.set()
                self._placement.stir()
            except Exception as error:  # noqa: BLE001  # as above
                _log.warning("the fleet cannot be looked at: %s", error)
            await asyncio.sleep(self._interval)

    def _saw(self, record: AgentState) -> None:
        if record.agent_id != self._holder.name:
            self._roster.saw(record)
        elif holder_of(record).id != self._holder.id and record.status == AgentStatus.RUNNING:
            before, self._namesake = self._namesake, record
            if before is not None and before.last_heartbeat != record.last_heartbeat:
                self._namesake_beat.set()

    async def _meet_namesake(self) -> None:
        """Another of the same name that died is succeeded; one that lives is left alone."""
        namesake = self._namesake
        if namesake is None or _is_certainly_dead(namesake, self._holder.host):
            return
        try:
            async with asyncio.timeout(peer_of(namesake, 0.0).timeout):
                await self._namesake_beat.wait()
        except TimeoutError:
            return
        host = holder_of(namesake).host
        self._refused = OrchestratorExistsError(
            f"another orchestrator is called {self._holder.name!r}: process {namesake.metadata.get('pid')} on {host}",
            details={"orchestrator": self._holder.name, "host": host},
        )
        _log.error("%s; this one is not part of the fleet", self._refused)


def _is_certainly_dead(record: AgentState, host: str) -> bool:
    """Whether an orchestrator of this host, or of long ago, is dead; of another one that cannot be told so soon."""
    pid = record.metadata.get("pid")
    if holder_of(record).host == host and isinstance(pid, int) and not psutil.pid_exists(pid):
        return True
    return not beats(record, datetime.now(UTC) - timedelta(seconds=MAX_CLOCK_SKEW))
