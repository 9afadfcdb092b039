"""Recorder: writes the records of an orchestrator and its agents to the state store.

Changes are gathered, and written in one call at a time. A store that is away is tried again and again; meanwhile
changes are `Pending`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from trunkline import (
    AgentState,
    Delete,
    Get,
    Lease,
    Operation,
    Outcome,
    RevisionMismatchError,
    Save,
    StateManager,
    TaskResult,
)
from trunkline.errors import OverloadedError
from trunkline.orchestrator.fleet.claims import Claims
from trunkline.orchestrator.fleet.holder import Holder
from trunkline.orchestrator.fleet.lease import OrchestratorLease
from trunkline.orchestrator.fleet.peers import Peers
from trunkline.orchestrator.fleet.pending import Pending
from trunkline.orchestrator.fleet.records import (
    RELEASED,
    agent_record,
    holder_of,
    is_active,
    is_orchestrator,
    is_taken_over,
    orchestrator_record,
    without_output,
)
from trunkline.orchestrator.fleet.store import STATE_RETRY, check_outcome, execute, is_refused
from trunkline.orchestrator.registry.entry import AgentEntry, Stage

_log = logging.getLogger(__name__)


class Recorder:
    """The recorder of one orchestrator, in the loop's thread.

    Args:
        state: the store, connected.
        holder: the orchestrator.
        lease: its lease, taken.
        claims: the agents that it has.
        peers: the other orchestrators.
        pending: changes to be written.
        facts: returns the metadata of its own record.
        needs: returns the dependencies of an agent.
        interval: seconds from one writing of the agents' heartbeats to the next.
        wrote: called after each write.
        failed: called after each write that failed.
        lost: called with an agent that runs here and elsewhere, and with the orchestrator that it belongs to.
    """

    def __init__(
        self,
        state: StateManager,
        holder: Holder,
        lease: OrchestratorLease,
        claims: Claims,
        peers: Peers,
        pending: Pending,
        *,
        facts: Callable[[], dict[str, Any]],
        needs: Callable[[str], Iterable[str]],
        interval: float,
        wrote: Callable[[], object],
        failed: Callable[[], object],
        lost: Callable[[AgentEntry, Holder], object],
    ) -> None:
        self._state = state
        self._holder = holder
        self._lease = lease
        self._claims = claims
        self._peers = peers
        self._pending = pending
        self._facts = facts
        self._needs = needs
        self._interval = interval
        self._wrote = wrote
        self._failed = failed
        self._lost = lost
        self._writing = asyncio.Lock()
        self._own: tuple[int, dict[str, Any]] | None = None
        """What the orchestrator's own record says, and the number of the lease that it is bound to."""
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
            anew: also claims agents that have ended on another orchestrator that is there.

        Raises:
            AgentElsewhereError: another orchestrator has one of them; none is claimed.
            OverloadedError: the lease has as many claims as it may have.
        """
        self._claims.begin(entries)
        try:
            async with self._writing:
                self._claims.bind(self._lease.held)
                held = await self._claims.take(entries)
                found = await self._read([entry for entry in entries if entry.name not in held])
                held |= {
                    name: holder_of(record)
                    for name, record in found.items()
                    if record is not None and self._is_in_the_way(record, anew)
                }
                if held:
                    await self._claims.release(entries)
                self._claims.check(held)
                if not all(map(self._claims.has, entries)):
                    raise OverloadedError("the orchestrator's lease takes no more agents")
                await self._post(entries, ())
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
        """Writes the last states, and removes the orchestrator's own record."""
        self._is_over = True
        try:
            await self.write()
        finally:
            self._pending.close()

    async def write(self) -> None:
        """Writes the pending changes, and the orchestrator's own record where it says something else now."""
        async with self._writing:
            entries, results = self._pending.take()
            try:
                held = await self._post(list(entries.values()), results)
            except BaseException:
                self._pending.put_back(entries, results)
                raise
        self._wrote()
        for name, other in held.items():
            if entries[name].is_active:
                self._lost(entries[name], other)

    async def _post(self, entries: Sequence[AgentEntry], results: Sequence[TaskResult]) -> dict[str, Holder]:
        """Writes results and records; returns the holders of agents that are wanted here and belong to others."""
        lease = self._lease.held
        self._claims.bind(lease)
        held = await self._claims.take(entries)
        mine = [entry for entry in entries if self._is_mine(entry)]
        await self._read([entry for entry in mine if not self._pending.knows_past(entry.name)])
        own, facts = self._own_record(lease)
        self._pending.recorded(results)
        lives = [Save(result) for result in results]  # first: whoever reads of an end in a record finds its result
        saves: list[Operation] = [*lives, *own, *(Save(self._record(entry), fence=lease) for entry in mine)]
        following = [operation for entry in entries for operation in self._claims.following(entry)]
        try:
            outcomes = await execute(self._state, [*saves, *following])
            for outcome in outcomes:
                check_outcome(outcome)
        except BaseException:
            self._claims.doubt(entries)  # what of it was done is not known
            raise
        self._own = facts
        for operation, outcome in zip(following, outcomes[len(saves) :], strict=True):
            self._claims.followed(operation, outcome)
        await self._save_bare(results, outcomes[: len(results)])
        await self._save_unclaimed([entry for entry in entries if self._is_unclaimed(entry)], lease)
        return held

    def _own_record(self, lease: Lease | None) -> tuple[list[Operation], tuple[int, dict[str, Any]] | None]:
        """Returns what has to be done to the orchestrator's own record, and what it says then."""
        if self._is_over:
            return [Delete("agent_state", self._holder.name, fence=lease)], None
        facts = self._lease.number, self._facts()
        if facts == self._own:
            return [], facts
        return [Save(orchestrator_record(self._holder, facts[1]), lease=lease)], facts

    async def _save_unclaimed(self, entries: Sequence[AgentEntry], lease: Lease | None) -> None:
        """Writes the records of agents that do not run here, where nobody else has written one that counts."""
        while entries:
            found = await self._read(entries)
            free = [entry for entry in entries if self._is_free(entry, found[entry.name])]
            revisions = [0 if (record := found[entry.name]) is None else record.revision or 0 for entry in free]
            outcomes = await execute(
                self._state,
                [
                    Save(self._record(entry), revision, fence=lease)
                    for entry, revision in zip(free, revisions, strict=True)
                ],
            )
            for outcome in outcomes:
                check_outcome(outcome)
            entries = [
                entry
                for entry, outcome in zip(free, outcomes, strict=True)
                if isinstance(outcome, RevisionMismatchError)
            ]

    async def _save_bare(self, results: Sequence[TaskResult], outcomes: Sequence[Outcome]) -> None:
        """Writes the results that the store has refused without their output."""
        bare = [
            without_output(result, str(outcome))
            for result, outcome in zip(results, outcomes, strict=True)
            if is_refused(outcome) and result.output_data
        ]
        for outcome in await execute(self._state, [Save(result) for result in bare]):
            check_outcome(outcome)

    async def _read(self, entries: Iterable[AgentEntry]) -> dict[str, AgentState | None]:
        """Returns the records of agents by name; what they say of past lives is known from now on."""
        names = [entry.name for entry in entries]
        found: dict[str, AgentState | None] = {}
        for name, outcome in zip(
            names, await execute(self._state, [Get("agent_state", name) for name in names]), strict=True
        ):
            check_outcome(outcome)
            found[name] = outcome if isinstance(outcome, AgentState) else None
            self._pending.past_lives(name, found[name])
        return found

    def _is_mine(self, entry: AgentEntry) -> bool:
        """Tells whether the agent's record is for this orchestrator to write: it runs here, or ran here last."""
        if not self._claims.has(entry):
            return False
        return self._lease.held is None or self._claims.is_wanted(entry) or entry.stage != Stage.REGISTERED

    def _is_unclaimed(self, entry: AgentEntry) -> bool:
        """Tells whether the agent neither runs here, nor did when its record was written last."""
        return not self._is_mine(entry) and not self._claims.is_wanted(entry)

    def _is_free(self, entry: AgentEntry, record: AgentState | None) -> bool:
        """Tells whether the record of an agent that does not run here may be written."""
        if record is None:
            return True
        if is_orchestrator(record):
            return False
        other = holder_of(record)
        if other.name == self._holder.name:
            return True
        # Where it is registered alone, another orchestrator was first; else it ended here while the store was away.
        return entry.stage != Stage.REGISTERED and not (is_active(record) and self._peers.lives(other))

    def _is_in_the_way(self, record: AgentState, anew: bool) -> bool:
        """Tells whether the record of a claimed agent forbids to start it."""
        if is_orchestrator(record):
            return True
        other = holder_of(record)
        if anew or other.name == self._holder.name or not self._peers.lives(other):
            return False
        return not is_taken_over(record) and record.metadata.get("state") != Stage.REGISTERED

    def _record(self, entry: AgentEntry) -> AgentState:
        state: str | None = None
        if entry.name in self._released and not entry.is_active:
            state = RELEASED
        elif self._claims.is_begun(entry) and not entry.is_active:
            state = Stage.WAITING.value
        past = self._pending.past_lives(entry.name, None)
        return agent_record(entry, self._holder, self._needs(entry.name), past, state)
