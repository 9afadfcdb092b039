"""Claims: which agents' records are this orchestrator's own.

A record is written with the revision that it is known to have, so of several orchestrators that want an agent exactly
one gets it, and one that was taken for dead learns that its agent went to another.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence

from trunkline import AgentState, Outcome, RevisionMismatchError, Save, StateManager
from trunkline.orchestrator.errors import AgentElsewhereError
from trunkline.orchestrator.fleet.records import Holder, holder_of, is_active, is_orchestrator
from trunkline.orchestrator.fleet.roster import Roster
from trunkline.orchestrator.registry.registry import AgentEntry, Stage


class Claims:
    """Of one orchestrator. All but `count` is for the loop's thread.

    Args:
        holder: the orchestrator.
        roster: who lives.
        state: a store whose records have no revisions knows no claims: the last write wins.
    """

    def __init__(self, holder: Holder, roster: Roster, state: StateManager) -> None:
        self._holder = holder
        self._roster = roster
        self._has_revisions = "expected_revision" in inspect.signature(state.save_agent_state).parameters
        self._revisions: dict[str, int] = {}
        """Of records that may be written; 0: there is none."""
        self._read: dict[str, AgentState] = {}
        """Of records that were read, and are not written yet."""
        self._begun: dict[str, tuple[AgentEntry, bool]] = {}
        self._foreign: set[str] = set()
        """Agents whose records others have: they are left alone until they are claimed."""

    def begin(self, entries: Sequence[AgentEntry], *, anew: bool) -> None:
        """From now on these agents are wanted here; see `Recorder.claim`."""
        for entry in entries:
            self._begun[entry.name] = entry, anew
            self._foreign.discard(entry.name)

    def end(self, entry: AgentEntry) -> None:
        """It was started, or could not be."""
        self._begun.pop(entry.name, None)

    def is_begun(self, entry: AgentEntry) -> bool:
        """Whether it is wanted here, and not started yet."""
        return entry.name in self._begun

    @property
    def count(self) -> int:
        """Agents that are wanted here and do not wait in the queue yet."""
        return sum(not entry.is_active for entry, _ in list(self._begun.values()))

    def check(self, held: Mapping[str, Holder]) -> None:
        """Raises AgentElsewhereError where another one has an agent."""
        for agent, other in held.items():
            raise AgentElsewhereError(
                f"agent {agent!r} is run by orchestrator {other.name!r} on {other.host}",
                details={"agent": agent, "orchestrator": other.name},
            )

    # Records.

    def is_foreign(self, entry: AgentEntry) -> bool:
        """Whether its record is left alone."""
        return entry.name in self._foreign

    def knows(self, entry: AgentEntry) -> bool:
        """Whether its record's revision is known."""
        return not self._has_revisions or entry.name in self._revisions

    def read(self, entry: AgentEntry, record: AgentState | None) -> None:
        """Takes a record as it was read."""
        self._revisions[entry.name] = 0 if record is None else record.revision or 0
        if record is not None:
            self._read[entry.name] = record

    def found(self, entry: AgentEntry) -> AgentState | None:
        """The record that was there before."""
        return self._read.get(entry.name)

    def in_the_way(self, entry: AgentEntry) -> Holder | None:
        """Who has the agent's record, where it may not be written."""
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
        wanted = self._begun.get(entry.name)
        if wanted is None and entry.stage == Stage.REGISTERED:
            return False  # another one told of it first, and this one does not run it
        if not self._roster.lives(other):
            return True
        if is_active(record):
            return False
        if wanted is None:
            return entry.is_active  # it was started here while the store was away
        return wanted[1] or record.metadata.get("state") == Stage.REGISTERED

    def save(self, entry: AgentEntry, record: AgentState) -> Save:
        """What writes a record, if it is still as it was."""
        return Save(record, self._revisions.get(entry.name) if self._has_revisions else None)

    def is_stale(self, entry: AgentEntry, outcome: Outcome) -> bool:
        """Takes what came of `save`. True where somebody else wrote the record meanwhile: it is to be read again."""
        if isinstance(outcome, int):
            self._revisions[entry.name] = outcome
            self._read.pop(entry.name, None)
            return False
        self.forget([entry])
        return isinstance(outcome, RevisionMismatchError)

    def forget(self, entries: Iterable[AgentEntry]) -> None:
        """What their records are is not known any more."""
        for entry in entries:
            self._revisions.pop(entry.name, None)
            self._read.pop(entry.name, None)
