"""Records: what the state store keeps of an orchestrator, of its agents and of their lives. The one place that says how
they correspond.

An agent's record belongs to the orchestrator that its metadata names, and to that start of it (`orchestrator_id`): one
that is started again under its name is another.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from trunkline import AgentState, AgentStatus, TaskResult, TaskStatus
from trunkline.orchestrator.limits import MAX_ERROR_RECORDED, MAX_LIVES_RECORDED
from trunkline.orchestrator.registry.life import Life
from trunkline.orchestrator.registry.registry import ACTIVE, AgentEntry, Stage

ORCHESTRATOR: Final = "orchestrator"
"""The `agent_type` of an orchestrator's own record."""

RELEASED: Final = "released"
"""Of an agent that may run anywhere: its orchestrator has shut down while it ran; another one takes it."""

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

_WANTED: Final = frozenset({*(stage.value for stage in ACTIVE - {Stage.STOPPING}), HUNG, RELEASED})
"""What another orchestrator goes on with, when the one that had it has died."""


@dataclass(frozen=True, slots=True)
class Holder:
    """An orchestrator, from its start to its end."""

    name: str
    id: str
    """Of this start of it; a UUID."""
    host: str = field(default_factory=socket.gethostname)

    def task_id(self, agent: str, life: Life) -> str:
        """What a life of an agent is called in the store."""
        return f"{agent}:{self.id}:{life.number}"


class PastLives:
    """The ids of an agent's newest lives."""

    def __init__(self, record: AgentState | None = None) -> None:
        self.completed: deque[str] = deque(record.completed_tasks if record else (), maxlen=MAX_LIVES_RECORDED)
        self.failed: deque[str] = deque(record.failed_tasks if record else (), maxlen=MAX_LIVES_RECORDED)


def agent_record(
    entry: AgentEntry, holder: Holder, needs: Iterable[str], past: PastLives, state: str | None = None
) -> AgentState:
    """What is kept of an agent.

    Args:
        needs: the agents that it depends on.
        past: its lives that are over.
        state: what it is said to be, where that is not its stage: it is about to be started, or was released.
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


def orchestrator_record(holder: Holder, is_over: bool, facts: dict[str, Any]) -> AgentState:
    """What is kept of the orchestrator itself, as of now."""
    return AgentState(
        agent_id=holder.name,
        agent_type=ORCHESTRATOR,
        status=AgentStatus.COMPLETED if is_over else AgentStatus.RUNNING,
        last_heartbeat=datetime.now(UTC),
        metadata={"kind": ORCHESTRATOR, "orchestrator_id": holder.id, "host": holder.host, **facts},
    )


def life_record(entry: AgentEntry, life: Life, holder: Holder, result: Any) -> TaskResult:
    """What is kept of one life of an agent that is over.

    Raises:
        ValueError: its result cannot be kept: it has a number that is none, say.
    """
    ended_at = life.ended_at or datetime.now(UTC)
    if result is None:
        result = {}
    return TaskResult(
        task_id=holder.task_id(entry.name, life),
        agent_id=entry.name,
        status=TaskStatus.COMPLETED if life.failure is None else TaskStatus.FAILED,
        output_data=result if isinstance(result, dict) else {"result": result},
        error_message=None if life.failure is None else _text(life.told or life.failure),
        started_at=life.started_at,
        completed_at=ended_at,
        duration_seconds=max(0.0, (ended_at - life.started_at).total_seconds()),
        metadata={"orchestrator": holder.name, "orchestrator_id": holder.id, "host": holder.host, "life": life.number},
    )


def without_output(result: TaskResult, why: str) -> TaskResult:
    """The same without its output, which cannot be kept."""
    bare = result.model_copy(update={"output_data": {}})
    bare.metadata = {**result.metadata, "output_left_out": _text(why)}
    return bare


# Reading.


def is_orchestrator(record: AgentState) -> bool:
    """Whether it is an orchestrator's own record."""
    return record.agent_type == ORCHESTRATOR and record.metadata.get("kind") == ORCHESTRATOR


def holder_of(record: AgentState) -> Holder:
    """Whom an agent's record belongs to; with empty names, where it is nobody's that we know."""
    said = record.metadata
    name = said.get("orchestrator", record.agent_id if is_orchestrator(record) else "")
    return Holder(str(name), str(said.get("orchestrator_id", "")), str(said.get("host", "")))


def is_active(record: AgentState) -> bool:
    """Whether the agent runs, or will without anybody's doing."""
    return is_wanted(record) or record.metadata.get("state") == Stage.STOPPING


def is_wanted(record: AgentState) -> bool:
    """Whether another orchestrator shall go on with the agent, once its own is gone."""
    return record.metadata.get("state") in _WANTED


def _aware(time: datetime | None) -> datetime | None:
    return None if time is None else time.astimezone(UTC)  # ServiceMessages may carry this machine's time


def _text(message: str) -> str:
    """A message as the store takes it: without lone surrogates, and not too long."""
    return message[:MAX_ERROR_RECORDED].encode("utf-8", "replace").decode()
