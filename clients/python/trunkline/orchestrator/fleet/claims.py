"""Claims: the agents that an orchestrator has.

A claim is the presence of an agent, bound to the orchestrator's lease, and written only where there is none. So exactly
one of several orchestrators gets an agent, `find_agents` finds it, and the claims of a dead orchestrator end by
themselves. A store without leases has no claims: there the last write wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from trunkline import AgentPresence, Delete, Get, Lease, Operation, Outcome, RevisionMismatchError, Save, StateManager
from trunkline.orchestrator.errors import AgentElsewhereError
from trunkline.orchestrator.fleet.holder import Holder
from trunkline.orchestrator.fleet.records import agent_presence, holder_of
from trunkline.orchestrator.fleet.store import check_outcome, execute
from trunkline.orchestrator.registry.entry import AgentEntry


class Claims:
    """The claims of one orchestrator. All but `count` is for the loop's thread.

    Args:
        holder: the orchestrator.
        state: the store.
    """

    def __init__(self, holder: Holder, state: StateManager) -> None:
        self._holder = holder
        self._state = state
        self._lease: Lease | None = None
        self._presences: dict[str, AgentPresence] = {}
        """The claims as they were written last, with their revisions."""
        self._doubtful: set[str] = set()
        """Agents whose claims may have been written or ended: the store was asked, and did not answer."""
        self._begun: dict[str, AgentEntry] = {}

    # Agents that are about to be started.

    def begin(self, entries: Iterable[AgentEntry]) -> None:
        """Begins to claim agents, to start them."""
        for entry in entries:
            self._begun[entry.name] = entry

    def end(self, entry: AgentEntry) -> None:
        """Ends that, when the agent was started or could not be."""
        self._begun.pop(entry.name, None)

    def is_begun(self, entry: AgentEntry) -> bool:
        """Tells whether the agent is claimed, and not started yet."""
        return entry.name in self._begun

    @property
    def count(self) -> int:
        """Number of claimed agents that are not in the queue yet."""
        return sum(not entry.is_active for entry in list(self._begun.values()))

    def check(self, held: Mapping[str, Holder]) -> None:
        """Raises AgentElsewhereError where somebody else has an agent."""
        for agent, other in held.items():
            who = f"run by orchestrator {other.name!r} on {other.host}" if other.name else "announced by somebody else"
            raise AgentElsewhereError(f"agent {agent!r} is {who}", details={"agent": agent, "orchestrator": other.name})

    # Claims.

    def bind(self, lease: Lease | None) -> None:
        """Claims with this lease from now on. What was claimed with another one has ended with it."""
        if lease is not None and self._lease is not None and lease.number != self._lease.number:
            self._presences.clear()
            self._doubtful.clear()
        self._lease = lease

    def is_wanted(self, entry: AgentEntry) -> bool:
        """Tells whether the agent runs here, or is about to."""
        return entry.is_active or self.is_begun(entry)

    def has(self, entry: AgentEntry) -> bool:
        """Tells whether the agent is claimed."""
        return self._lease is None or entry.name in self._presences

    async def take(self, entries: Iterable[AgentEntry]) -> dict[str, Holder]:
        """Claims the agents that are wanted and not claimed yet, and finds out about doubtful claims; returns the
        holders of the agents that others have.

        Raises:
            As the store.
        """
        held: dict[str, Holder] = {}
        wanted = [
            entry
            for entry in entries
            if not self.has(entry) and (self.is_wanted(entry) or entry.name in self._doubtful)
        ]
        while wanted:
            taken = await self._write(wanted)
            wanted = []
            found = await execute(self._state, [Get("agent_presence", entry.name) for entry in taken])
            for entry, presence in zip(taken, found, strict=True):
                if not isinstance(presence, AgentPresence):
                    check_outcome(presence)
                    wanted.append(entry)  # it has ended meanwhile
                elif holder_of(presence).id == self._holder.id:
                    self._keep(presence)
                else:
                    self._doubtful.discard(entry.name)
                    held[entry.name] = holder_of(presence)
        return held

    async def release(self, entries: Iterable[AgentEntry]) -> None:
        """Ends the claims of agents that are not started after all."""
        mine = [entry for entry in entries if not entry.is_active and entry.name in self._presences]
        self.doubt(mine)
        await execute(self._state, [Delete("agent_presence", entry.name, fence=self._lease) for entry in mine])
        self._doubtful.difference_update(entry.name for entry in mine)

    def following(self, entry: AgentEntry) -> list[Operation]:
        """Returns what the agent's stage makes of its claim: its status is another, or the claim ends."""
        before = self._presences.get(entry.name)
        if before is None:
            return []
        if not self.is_wanted(entry):
            return [Delete("agent_presence", entry.name, before.revision, fence=self._lease)]
        now = self._presence(entry)
        return [Save(now, before.revision, lease=self._lease)] if now != before else []

    def followed(self, operation: Operation, outcome: Outcome) -> None:
        """Takes the outcome of what `following` returned."""
        if isinstance(operation, Save) and isinstance(operation.record, AgentPresence):
            if isinstance(outcome, int):
                self._keep(operation.record, outcome)
            else:
                self._presences.pop(operation.record.agent_id, None)
        elif isinstance(operation, Delete):
            self._presences.pop(operation.id, None)

    def doubt(self, entries: Iterable[AgentEntry]) -> None:
        """Finds out about these claims before they are used again: the store may have done what it was asked for."""
        names = {entry.name for entry in entries} & self._presences.keys()
        for name in names:
            del self._presences[name]
        self._doubtful |= names

    async def _write(self, entries: Sequence[AgentEntry]) -> list[AgentEntry]:
        """Writes the presences of agents that have none; returns the agents that have one."""
        self._doubtful.update(entry.name for entry in entries)
        presences = [self._presence(entry) for entry in entries]
        outcomes = await execute(self._state, [Save(presence, 0, lease=self._lease) for presence in presences])
        for presence, outcome in zip(presences, outcomes, strict=True):
            if isinstance(outcome, int):
                self._keep(presence, outcome)
        for outcome in outcomes:
            check_outcome(outcome)
        return [
            entry
            for entry, outcome in zip(entries, outcomes, strict=True)
            if isinstance(outcome, RevisionMismatchError)
        ]

    def _keep(self, presence: AgentPresence, revision: int | None = None) -> None:
        self._presences[presence.agent_id] = presence if revision is None else replace(presence, revision=revision)
        self._doubtful.discard(presence.agent_id)

    def _presence(self, entry: AgentEntry) -> AgentPresence:
        before = self._presences.get(entry.name)
        now = agent_presence(entry, self._holder)
        return now if before is None else replace(now, announced_at=before.announced_at)
