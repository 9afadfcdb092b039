"""Membership: one orchestrator's part in a fleet.

It tells the state store that it lives, watches who else does, claims agents before they are started, and takes over
those that may run anywhere when their orchestrator is gone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from trunkline import StateManager
from trunkline.errors import StateDisconnectedError
from trunkline.orchestrator.errors import AgentElsewhereError, OrchestratorError, OrchestratorExistsError
from trunkline.orchestrator.fleet.claims import Claims
from trunkline.orchestrator.fleet.lookout import STATE_RETRY, Lookout
from trunkline.orchestrator.fleet.placement import Placement
from trunkline.orchestrator.fleet.recorder import Recorder
from trunkline.orchestrator.fleet.records import Holder
from trunkline.orchestrator.fleet.roster import Roster
from trunkline.orchestrator.limits import (
    CLAIM_SECONDS,
    RECORD_CLOSE_SECONDS,
)
from trunkline.orchestrator.registry.registry import AgentEntry
from trunkline.sync import Background

_log = logging.getLogger(__name__)

T = TypeVar("T")


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
        self._joined = asyncio.Event()
        self._refused: OrchestratorExistsError | None = None
        self._placement = Placement(
            holder,
            self._roster,
            state,
            anywhere=member.anywhere,
            load=self._load,
            take=lambda name: self._start([name], anew=False),
        )
        self._lookout = Lookout(state, holder, self._roster, interval, self._placement.stir)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._background = Background()
        self._background.open()
        self._background.submit(self._run(self._live())).add_done_callback(_say_why)

    def start(self, names: list[str]) -> Future[str]:
        """Claims agents, and what they need, and starts them here.

        Raises (the future):
            AgentElsewhereError: another orchestrator runs one of them; none is started.
            OrchestratorExistsError: this orchestrator's name is taken.
            OrchestratorError: the store is away, and one of them may run anywhere.
            CancelledError: it was closed meanwhile.
        """
        return self._background.submit(self._run(self._start(names, anew=True)))

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

    async def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Until it is closed."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await coroutine

    async def _live(self) -> None:
        await self._connect()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._lookout.run())
            await self._lookout.synced.wait()
            self._refused = await self._lookout.meet_namesake()
            self._joined.set()
            if self._refused is not None:
                _log.error("%s; this one is not part of the fleet", self._refused)
            else:
                tasks.create_task(self.recorder.run())
                tasks.create_task(self._placement.run())
                tasks.create_task(self._lookout.forget_the_dead())

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
                    await self.recorder.close()
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
        entries = self._member.to_start(names)
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
                await self._lookout.synced.wait()
            await self._joined.wait()
            if self._refused is not None:
                raise self._refused
            if entries:
                async with asyncio.timeout(CLAIM_SECONDS):
                    await self.recorder.claim(entries, anew=anew)
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


def _say_why(lived: Future[None]) -> None:
    """It ends when it is closed, and never by itself."""
    if not lived.cancelled() and (error := lived.exception()) is not None:
        _log.error("nothing is written to the state store any more", exc_info=error)
