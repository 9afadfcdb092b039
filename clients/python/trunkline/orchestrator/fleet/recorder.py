"""Recorder: writes to the state store how an orchestrator and its agents stand.

What changed is gathered and written in one call, one call at a time. A store that is away is tried again and again;
meanwhile each agent has one record waiting, its newest, and results wait up to a bound.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from trunkline import AgentState, Get, Operation, Outcome, Save, StateManager, TaskResult
from trunkline.errors import InvalidRecordError, MessageTooLargeError, RevisionMismatchError, StateError
from trunkline.orchestrator.fleet.claims import Claims
from trunkline.orchestrator.fleet.lookout import STATE_RETRY
from trunkline.orchestrator.fleet.records import (
    RELEASED,
    Holder,
    PastLives,
    agent_record,
    life_record,
    orchestrator_record,
    without_output,
)
from trunkline.orchestrator.limits import (
    MAX_PENDING_RESULTS,
    RECORDS_AT_A_TIME,
)
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.registry import AgentEntry, Stage

_log = logging.getLogger(__name__)


class Recorder:
    """Of one orchestrator. `changed`, `beat` and `ended` may be called by any thread, the rest by the loop's.

    Args:
        state: the store, connected.
        holder: the orchestrator.
        claims: which records are its own.
        facts: what its own record says.
        needs: what an agent depends on.
        interval: seconds from one heartbeat to the next. Those of the agents are written along with it.
        wrote: called after each write with how long it took.
        failed: called after each write that failed.
        lost: called with an agent that runs here and elsewhere, and with who has it.
    """

    def __init__(
        self,
        state: StateManager,
        holder: Holder,
        claims: Claims,
        *,
        facts: Callable[[], dict[str, Any]],
        needs: Callable[[str], Iterable[str]],
        interval: float,
        wrote: Callable[[float], object],
        failed: Callable[[], object],
        lost: Callable[[AgentEntry, Holder], object],
    ) -> None:
        self._state = state
        self._holder = holder
        self._claims = claims
        self._facts = facts
        self._needs = needs
        self._interval = interval
        self._wrote = wrote
        self._failed = failed
        self._lost = lost
        self._lock = threading.Lock()
        self._changed: dict[str, AgentEntry] = {}
        self._beaten: dict[str, AgentEntry] = {}
        self._past: dict[str, PastLives] = {}
        self._results: deque[TaskResult] = deque()
        self.dropped = 0
        """Results that went because the store was away for too long."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._is_awake = False
        self._writing = asyncio.Lock()
        self._is_over = False
        self._released: frozenset[str] = frozenset()

    # What any thread may call.

    def changed(self, entry: AgentEntry) -> None:
        """An agent stands elsewhere; its record is written at once."""
        with self._lock:
            self._changed[entry.name] = entry
            self._rouse()

    def beat(self, entry: AgentEntry) -> None:
        """An agent says that it lives; its record is written with the next heartbeat."""
        with self._lock:
            self._beaten[entry.name] = entry

    def ended(self, entry: AgentEntry, life: Life) -> None:
        """A life of an agent is over."""
        result = _result(entry, life, self._holder)
        with self._lock:
            past = self._past.setdefault(entry.name, PastLives())
            (past.completed if life.failure is None else past.failed).append(result.task_id)
            self._results.append(result)
            self._changed[entry.name] = entry
            if len(self._results) > MAX_PENDING_RESULTS:
                self._results.popleft()
                self.dropped += 1
                if self.dropped == 1:
                    _log.error("%d results wait for the state store; older ones are dropped", MAX_PENDING_RESULTS)
            self._rouse()

    def _rouse(self) -> None:
        if not self._is_awake and self._loop is not None:
            self._is_awake = True
            self._loop.call_soon_threadsafe(self._wake.set)

    # What the loop does.

    async def run(self) -> None:
        """Writes until it is cancelled."""
        self._loop = asyncio.get_running_loop()
        due = 0.0
        failures = 0
        while True:
            if (now := self._loop.time()) >= due:
                due = now + self._interval
                with self._lock:
                    self._changed = {**self._beaten, **self._changed}
                    self._beaten = {}
            try:
                await self.write()
                failures = 0
            except Exception as error:  # noqa: BLE001  # a store of one's own may raise anything: it is tried again
                failures += 1
                self._failed()
                log = _log.warning if failures == 1 else _log.debug
                log("the state store did not take the agents' states: %s", error)
                await asyncio.sleep(STATE_RETRY.delay(failures))
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - self._loop.time())):
                    await self._wake.wait()

    async def claim(self, entries: Sequence[AgentEntry], *, anew: bool) -> None:
        """Makes the records of agents this orchestrator's own, before they are started.

        Args:
            anew: also where they have run already, on another one that lives.

        Raises:
            AgentElsewhereError: another one that lives has one of them; none is claimed.
        """
        self._claims.begin(entries, anew=anew)
        try:
            async with self._writing:
                held = await self._post(entries, ())
            self._claims.check(held)
        except BaseException:
            self.settle(entries)
            raise

    def settle(self, entries: Iterable[AgentEntry]) -> None:
        """Agents that were claimed were started, or could not be: from now on their records say how they stand."""
        for entry in entries:
            self._claims.end(entry)
            self.changed(entry)

    def release(self, names: Iterable[str]) -> None:
        """These agents shall go on elsewhere when they have ended here."""
        self._released = frozenset(names)

    async def close(self) -> None:
        """Writes the last states, and that the orchestrator has shut down."""
        self._is_over = True
        try:
            await self.write()
        finally:
            with self._lock:
                self._loop = None

    async def write(self) -> None:
        """Writes what has changed, and the orchestrator's own record."""
        loop = asyncio.get_running_loop()
        async with self._writing:
            began = loop.time()
            entries, results = self._take()
            try:
                held = await self._post(list(entries.values()), results)
            except BaseException:
                with self._lock:
                    self._changed = {**entries, **self._changed}
                    self._results.extendleft(reversed(results))
                raise
        self._wrote(loop.time() - began)
        for name, other in held.items():
            if entries[name].is_active:
                self._lost(entries[name], other)

    def _take(self) -> tuple[dict[str, AgentEntry], list[TaskResult]]:
        with self._lock:
            entries, self._changed = self._changed, {}
            results = list(self._results)
            self._results.clear()
            self._wake.clear()
            self._is_awake = False
        return entries, results

    async def _post(self, entries: Sequence[AgentEntry], results: Sequence[TaskResult]) -> dict[str, Holder]:
        """Writes; returns who has the records that others have."""
        held: dict[str, Holder] = {}
        waiting = [entry for entry in entries if not self._claims.is_foreign(entry)]
        others = [Save(result) for result in results]
        while True:
            free = await self._free(waiting, held)
            saves = [self._claims.save(entry, self._record(entry)) for entry in free]
            own = Save(orchestrator_record(self._holder, self._is_over, self._facts()))
            try:
                outcomes = await self._do([*saves, own, *others])
            except BaseException:
                self._claims.forget(free)  # whether they were written is not known
                raise
            waiting = [
                entry for entry, outcome in zip(free, outcomes, strict=False) if self._claims.is_stale(entry, outcome)
            ]
            for outcome in outcomes:
                _check(outcome)
            others = [
                Save(without_output(save.record, str(outcome)))
                for save, outcome in zip(others, outcomes[len(saves) + 1 :], strict=True)
                if isinstance(save.record, TaskResult) and _is_refused(outcome) and save.record.output_data
            ]
            if not waiting and not others:
                return held

    async def _free(self, entries: Sequence[AgentEntry], held: dict[str, Holder]) -> list[AgentEntry]:
        """Those whose records may be written; who has the others is added to `held`."""
        unknown = [entry for entry in entries if not self._claims.knows(entry)]
        found = await self._do([Get("agent_state", entry.name) for entry in unknown]) if unknown else []
        for entry, outcome in zip(unknown, found, strict=True):
            if isinstance(outcome, StateError):
                raise outcome
            self._claims.read(entry, outcome if isinstance(outcome, AgentState) else None)
        held |= {entry.name: other for entry in entries if (other := self._claims.in_the_way(entry)) is not None}
        return [entry for entry in entries if entry.name not in held]

    async def _do(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Does them, in calls of bounded size. A call that cannot be made is divided, until it is known for whom."""
        done: list[Outcome] = []
        size = RECORDS_AT_A_TIME
        while len(done) < len(operations):
            part = operations[len(done) : len(done) + size]
            try:
                done += await self._state.batch(part)
                size = min(RECORDS_AT_A_TIME, size * 2)
            except (InvalidRecordError, MessageTooLargeError) as error:
                if len(part) == 1:
                    done.append(error)
                size = max(1, len(part) // 2)
        return done

    def _record(self, entry: AgentEntry) -> AgentState:
        state: str | None = None
        if entry.name in self._released and not entry.is_active:
            state = RELEASED
        elif self._claims.is_begun(entry) and not entry.is_active:
            state = Stage.WAITING.value
        with self._lock:
            past = self._past.setdefault(entry.name, PastLives(self._claims.found(entry)))
            return agent_record(entry, self._holder, self._needs(entry.name), past, state)


def _result(entry: AgentEntry, life: Life, holder: Holder) -> TaskResult:
    try:
        return life_record(entry, life, holder, life.result)
    except ValueError as error:  # pydantic's: a result that cannot be kept must not hide that there was a life
        return without_output(life_record(entry, life, holder, None), str(error))


def _is_refused(outcome: Outcome) -> bool:
    """Whether the store can never take it."""
    return isinstance(outcome, InvalidRecordError | MessageTooLargeError)


def _check(outcome: Outcome) -> None:
    """Raises what went wrong with a write, so that it is tried again; but not where it can never go well, or where the
    record is read again."""
    if _is_refused(outcome):
        _log.error("the state store does not take a record: %s", outcome)
    elif isinstance(outcome, StateError) and not isinstance(outcome, RevisionMismatchError):
        raise outcome
