"""Records: mapping of an orchestrator, its agents and their lives to the records of the state store.

An orchestrator's own record and the presences of its agents are bound to its lease, and end with it. The record of an
agent stays, and says what became of it. All of them name their orchestrator, and one start of it (`orchestrator_id`):
an orchestrator that is started again under the same name is another holder.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from trunkline import AgentPresence, AgentState, AgentStatus, TaskResult, TaskStatus
from trunkline.orchestrator.fleet.holder import Holder
from trunkline.orchestrator.limits import MAX_ERROR_RECORDED, MAX_LIVES_RECORDED
from trunkline.orchestrator.registry.entry import ACTIVE, AgentEntry, Stage
from trunkline.orchestrator.registry.life import Life

ORCHESTRATOR: Final = "orchestrator"
"""`agent_type` of an orchestrator's own record."""

RELEASED: Final = "released"
"""State of a spread agent that ran when its orchestrator shut down; another one takes it."""

HUNG: Final = "hung"

_STATUS: Final = {
    Stage.REGISTERED: AgentStatus.IDLE,
    Stage.WAITING: AgentStatus.WAITING,
    Stage.STARTED: AgentStatus.RUNNING,
    Stage.READY: AgentStatus.RUNNING,
    Stage.STOPPING: AgentStatus.RUNNING,
    Stage.BACKING_OFF: AgentStatus.WAITING,
    Stage.COMPLETED: AgentStatus.COMPLETED,
    Stage.FAILED: AgentStatus.FAILED,
    Stage.STOPPED: AgentStatus.CANCELLED,
}

_TAKEN_OVER: Final = frozenset({*(stage.value for stage in ACTIVE - {Stage.STOPPING}), HUNG, RELEASED})
"""States of agents that another orchestrator takes over, when theirs has died."""


class PastLives:
    """The ids of an agent's newest lives that are over."""

    def __init__(self, record: AgentState | None = None) -> None:
        self.completed: deque[str] = deque(record.completed_tasks if record else (), maxlen=MAX_LIVES_RECORDED)
        self.failed: deque[str] = deque(record.failed_tasks if record else (), maxlen=MAX_LIVES_RECORDED)

    def copy(self) -> PastLives:
        """Returns a copy that later lives do not change."""
        copied = PastLives()
        copied.completed.extend(self.completed)
        copied.failed.extend(self.failed)
        return copied


def agent_record(
    entry: AgentEntry, holder: Holder, needs: Iterable[str], past: PastLives, state: str | None = None
) -> AgentState:
    """Returns the record of an agent.

    Args:
        needs: its dependencies.
        past: its lives that are over.
        state: its state, where that is not its stage: claimed and about to be started, or released.
    """
    life = entry.life
    is_running = entry.is_active and life is not None and life.ended_at is None
    last_error = entry.errors[-1][1] if entry.errors else None
    return AgentState(
        agent_id=entry.name,
        agent_type=entry.agent_class.__name__,
        status=_STATUS[entry.stage] if state is None else AgentStatus.WAITING,
        current_task_id=holder.task_id(entry.name, life) if is_running and life is not None else None,
        completed_tasks=list(past.completed),
        failed_tasks=list(past.failed),
        error_count=entry.error_count,
        last_heartbeat=_aware(entry.last_heartbeat),
        metadata={
            "orchestrator": holder.name,
            "orchestrator_id": holder.id,
            "host": holder.host,
            "kind": entry.kind,
            "state": state or entry.state,
            "alive": entry.is_alive(),
            "started": entry.has_started,
            "in_queue": entry.in_queue or state is not None,
            "pid": entry.pid,
            "lives": 0 if life is None else life.number,
            "restarts": entry.restarts.count,
            "restart_policy": entry.restarts.policy.when,
            "last_error": None if last_error is None else _text(last_error),
            "dependencies": list(needs),
            "spread": entry.is_spread,
        },
    )


def agent_presence(entry: AgentEntry, holder: Holder) -> AgentPresence:
    """Returns the presence of an agent that runs, or is about to be started."""
    return AgentPresence(
        agent_id=entry.name,
        agent_type=entry.agent_class.__name__,
        status=_STATUS[entry.stage] if entry.is_active else AgentStatus.WAITING,
        metadata={"orchestrator": holder.name, "orchestrator_id": holder.id, "host": holder.host},
    )


def orchestrator_record(holder: Holder, facts: dict[str, Any]) -> AgentState:
    """Returns the record of the orchestrator itself."""
    return AgentState(
        agent_id=holder.name,
        agent_type=ORCHESTRATOR,
        status=AgentStatus.RUNNING,
        metadata={"kind": ORCHESTRATOR, "orchestrator_id": holder.id, "host": holder.host, **facts},
    )


def life_record(entry: AgentEntry, life: Life, holder: Holder, result: Any) -> TaskResult:
    """Returns the record of a life that is over.

    Raises:
        ValueError: the result cannot be kept; it contains NaN, for example.
    """
    ended_at = life.ended_at or datetime.now(UTC)
    if result is None:
        result = {}
    return TaskResult(
        task_id=holder.task_id(entry.name, life),
        agent_id=entry.name,
        status=TaskStatus.COMPLETED if life.failure is None else TaskStatus.FAILED,
        output_data=result if isinstance(result, dict) else {"result": result},
        error_message=None if life.failure is None else _text(life.last_error or life.failure),
        started_at=life.started_at,
        completed_at=ended_at,
        duration_seconds=max(0.0, (ended_at - life.started_at).total_seconds()),
        metadata={"orchestrator": holder.name, "orchestrator_id": holder.id, "host": holder.host, "life": life.number},
    )


def without_output(result: TaskResult, why: str) -> TaskResult:
    """Returns a result without its output, and with the reason."""
    bare = result.model_copy(update={"output_data": {}})
    bare.metadata = {**result.metadata, "output_left_out": _text(why)}
    return bare


# Reading.


def is_orchestrator(record: AgentState) -> bool:
    """Tells whether a record is an orchestrator's own."""
    return record.agent_type == ORCHESTRATOR and record.metadata.get("kind") == ORCHESTRATOR


def holder_of(record: AgentState | AgentPresence) -> Holder:
    """Returns the holder of an agent's record or presence; with empty names where it names none."""
    metadata = record.metadata
    is_own = isinstance(record, AgentState) and is_orchestrator(record)
    name = metadata.get("orchestrator", record.agent_id if is_own else "")
    return Holder(str(name), str(metadata.get("orchestrator_id", "")), str(metadata.get("host", "")))


def is_active(record: AgentState) -> bool:
    """Tells whether the agent runs, or will run without another request."""
    return is_taken_over(record) or record.metadata.get("state") == Stage.STOPPING


def is_taken_over(record: AgentState) -> bool:
    """Tells whether another orchestrator takes the agent over, once its own is dead."""
    return record.metadata.get("state") in _TAKEN_OVER


def _aware(time: datetime | None) -> datetime | None:
    return None if time is None else time.astimezone(UTC)  # ServiceMessages may carry local time


def _text(message: str) -> str:
    """Returns a text that the store takes: without lone surrogates, and cut to MAX_ERROR_RECORDED."""
    return message[:MAX_ERROR_RECORDED].encode("utf-8", "replace").decode()
