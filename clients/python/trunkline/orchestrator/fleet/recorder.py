"""Recorder: writes the records of an orchestrator and its agents to the state store.

Changes are gathered, and written in one call at a time. A store that is away is tried again and again; meanwhile
changes are `Pending`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from trunkline import AgentState, Get, Operation, Outcome, Save, StateManager, TaskResult
from trunkline.errors import InvalidRecordError, MessageTooLargeError, RevisionMismatchError, StateError
from trunkline.orchestrator.fleet.claims import Claims
from trunkline.orchestrator.fleet.pending import Pending
from trunkline.orchestrator.fleet.records import (
    RELEASED,
    Holder,
    agent_record,
    orchestrator_record,
    without_output,
)
from trunkline.orchestrator.fleet.store import STATE_RETRY
from trunkline.orchestrator.limits import RECORDS_AT_A_TIME
from trunkline.orchestrator.registry.entry import AgentEntry, Stage

_log = logging.getLogger(__name__)


class Recorder:
    """The recorder of one orchestrator, in the loop's thread.

    Args:
        state: the store, connected.
        holder: the orchestrator.
        claims: the records that belong to it.
        pending: changes to be written.
        facts: returns the metadata of its own record.
        needs: returns the dependencies of an agent.
        interval: seconds from one heartbeat to the next. Those of the agents are written along with it.
        wrote: called after each write with its duration in seconds.
        failed: called after each write that failed.
        lost: called with an agent that runs here and elsewhere, and with the orchestrator that it belongs to.
    """

    def __init__(
        self,
        state: StateManager,
        holder: Holder,
        claims: Claims,
        pending: Pending,
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
        self._pending = pending
        self._facts = facts
        self._needs = needs
        self._interval = interval
        self._wrote = wrote
        self._failed = failed
        self._lost = lost
        self._writing = asyncio.Lock()
        self._is_over = False
        self._released: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Writes until it is cancelled."""
        self._pending.open()
        clock = asyncio.get_running_loop().time
        due = 0.0
        failures = 0
        while True:
            if (now := clock()) >= due:
                due = now + self._interval
                self._pending.include_heartbeats()
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
            await self._pending.wait(max(0.0, due - clock()))

    async def claim(self, entries: Sequence[AgentEntry], *, anew: bool) -> None:
        """Claims the records of agents for this orchestrator, before the agents are started.

        Args:
            anew: also claims agents that have ended on another orchestrator that is alive.

        Raises:
            AgentElsewhereError: another orchestrator that is alive has one of them; none is claimed.
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
        """Ends the claims of agents that were started, or could not be: their records follow their stages from now
        on."""
        for entry in entries:
            self._claims.end(entry)
            self._pending.changed(entry)

    def release(self, names: Iterable[str]) -> None:
        """Marks agents as released when they have ended here, so that other orchestrators take them."""
        self._released = frozenset(names)

    async def close(self) -> None:
        """Writes the last states, and that the orchestrator has shut down."""
        self._is_over = True
        try:
            await self.write()
        finally:
            self._pending.close()

    async def write(self) -> None:
        """Writes the pending changes, and the orchestrator's own record."""
        loop = asyncio.get_running_loop()
        async with self._writing:
            began = loop.time()
            entries, results = self._pending.take()
            try:
                held = await self._post(list(entries.values()), results)
            except BaseException:
                self._pending.put_back(entries, results)
                raise
        self._wrote(loop.time() - began)
        for name, other in held.items():
            if entries[name].is_active:
                self._lost(entries[name], other)

    async def _post(self, entries: Sequence[AgentEntry], results: Sequence[TaskResult]) -> dict[str, Holder]:
        """Writes records and results; returns the other holders of records that do not belong to this orchestrator."""
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
                self._claims.forget(free)  # whether they were written is unknown
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
        """Returns the agents whose records may be written; adds the holders of the others to `held`."""
        unknown = [entry for entry in entries if not self._claims.knows(entry)]
        found = await self._do([Get("agent_state", entry.name) for entry in unknown]) if unknown else []
        for entry, outcome in zip(unknown, found, strict=True):
            if isinstance(outcome, StateError):
                raise outcome
            self._claims.read(entry, outcome if isinstance(outcome, AgentState) else None)
        held |= {entry.name: other for entry in entries if (other := self._claims.in_the_way(entry)) is not None}
        return [entry for entry in entries if entry.name not in held]

    async def _do(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Does operations in calls of bounded size. A call that is refused is divided, until the refused operation is
        found."""
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
        past = self._pending.past_lives(entry.name, self._claims.found(entry))
        return agent_record(entry, self._holder, self._needs(entry.name), past, state)


def _is_refused(outcome: Outcome) -> bool:
    """Tells whether the store refuses a record for good."""
    return isinstance(outcome, InvalidRecordError | MessageTooLargeError)


def _check(outcome: Outcome) -> None:
    """Raises the error of a write that is to be tried again. A refused record is logged; a stale one is read again."""
    if _is_refused(outcome):
        _log.error("the state store does not take a record: %s", outcome)
    elif isinstance(outcome, StateError) and not isinstance(outcome, RevisionMismatchError):
        raise outcome
