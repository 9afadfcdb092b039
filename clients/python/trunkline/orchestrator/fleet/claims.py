"""Claims: the agents' records that belong to an orchestrator.

A record is written only if it still has the revision that was read. So exactly one of several orchestrators gets an
agent, and one that counted as dead learns that another has taken its agent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from trunkline import AgentState, Outcome, RevisionMismatchError, Save, StateManager
from trunkline.orchestrator.errors import AgentElsewhereError
from trunkline.orchestrator.fleet.peers import Peers
from trunkline.orchestrator.fleet.records import Holder, holder_of, is_active, is_orchestrator
from trunkline.orchestrator.fleet.store import has_revisions
from trunkline.orchestrator.registry.entry import AgentEntry, Stage


class Claims:
    """The claims of one orchestrator. All but `count` is for the loop's thread.

    Args:
        holder: the orchestrator.
        peers: the other orchestrators.
        state: the store. Without revisions there are no claims: the last write wins.
    """

    def __init__(self, holder: Holder, peers: Peers, state: StateManager) -> None:
        self._holder = holder
        self._peers = peers
        self._has_revisions = has_revisions(state)
        self._revisions: dict[str, int] = {}
        """Revisions of the records that may be written; 0: there is no record."""
        self._read: dict[str, AgentState] = {}
        """Records that were read, and are not written yet."""
        self._begun: dict[str, tuple[AgentEntry, bool]] = {}
        self._foreign: set[str] = set()
        """Agents whose records belong to others; they are not written until they are claimed."""

    def begin(self, entries: Sequence[AgentEntry], *, anew: bool) -> None:
        """Begins to claim agents; see `Recorder.claim`."""
        for entry in entries:
            self._begun[entry.name] = entry, anew
            self._foreign.discard(entry.name)

    def end(self, entry: AgentEntry) -> None:
        """Ends a claim, when the agent was started or could not be."""
        self._begun.pop(entry.name, None)

    def is_begun(self, entry: AgentEntry) -> bool:
        """Tells whether the agent is claimed, and not started yet."""
        return entry.name in self._begun

    @property
    def count(self) -> int:
        """Number of claimed agents that are not in the queue yet."""
        return sum(not entry.is_active for entry, _ in list(self._begun.values()))

    def check(self, held: Mapping[str, Holder]) -> None:
        """Raises AgentElsewhereError where another orchestrator has an agent."""
        for agent, other in held.items():
            raise AgentElsewhereError(
                f"agent {agent!r} is run by orchestrator {other.name!r} on {other.host}",
                details={"agent": agent, "orchestrator": other.name},
            )

    # Records.

    def is_foreign(self, entry: AgentEntry) -> bool:
        """Tells whether the agent's record belongs to another orchestrator."""
        return entry.name in self._foreign

    def knows(self, entry: AgentEntry) -> bool:
        """Tells whether the revision of the agent's record is known."""
        return not self._has_revisions or entry.name in self._revisions

    def read(self, entry: AgentEntry, record: AgentState | None) -> None:
        """Takes the record that was read; None where there is none."""
        self._revisions[entry.name] = 0 if record is None else record.revision or 0
        if record is not None:
            self._read[entry.name] = record

    def found(self, entry: AgentEntry) -> AgentState | None:
        """Returns the record that was read, and is not written yet."""
        return self._read.get(entry.name)

    def in_the_way(self, entry: AgentEntry) -> Holder | None:
        """Returns the orchestrator that the agent's record belongs to, where it may not be written."""
        record = self._read.get(entry.name)
        if record is None:
            return None
        other = holder_of(record)
        if not is_orchestrator(record) and (other.name == self._holder.name or self._is_free(entry, record, other)):
            return None
        self._revisions.pop(entry.name, None)
        self._read.pop(entry.name)
        if entry.name not in self._begun:
            self._foreign.add(entry.name)
        return other

    def _is_free(self, entry: AgentEntry, record: AgentState, other: Holder) -> bool:
        begun = self._begun.get(entry.name)
        if begun is None and entry.stage == Stage.REGISTERED:
            return False  # another orchestrator wrote it first, and this one does not run the agent
        if not self._peers.lives(other):
            return True
        if is_active(record):
            return False
        if begun is None:
            return entry.is_active  # started here while the store was away
        return begun[1] or record.metadata.get("state") == Stage.REGISTERED

    def save(self, entry: AgentEntry, record: AgentState) -> Save:
        """Returns the operation that writes a record, if it is still as it was read."""
        return Save(record, self._revisions.get(entry.name) if self._has_revisions else None)

    def is_stale(self, entry: AgentEntry, outcome: Outcome) -> bool:
        """Takes the outcome of `save`; returns True where another write came first: the record is to be read again."""
        if isinstance(outcome, int):
            self._revisions[entry.name] = outcome
            self._read.pop(entry.name, None)
            return False
        self.forget([entry])
        return isinstance(outcome, RevisionMismatchError)

    def forget(self, entries: Iterable[AgentEntry]) -> None:
        """Forgets the records of agents, so that they are read again."""
        for entry in entries:
            self._revisions.pop(entry.name, None)
            self._read.pop(entry.name, None)
