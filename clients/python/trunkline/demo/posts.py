"""Posts: who works on a job, and over which channels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from trunkline.channels import agent_channel, phase_channel, workflow_channel
from trunkline.delivery import Backoff, DurableSettings
from trunkline.demo.limits import BACKOFF_SECONDS, LEASE_SECONDS, MAX_DELIVERIES
from trunkline.models import AgentType, WorkflowPhase

COORDINATOR: Final = "coordinator"
CODING: Final = "coding"
REVIEW: Final = "review"
DURABLES: Final = (CODING, REVIEW, COORDINATOR)
"""The durable subscriptions of a run: of files to measure, of figures to review, of notices to the coordinator."""

SETTINGS: Final = DurableSettings(LEASE_SECONDS, MAX_DELIVERIES, Backoff(BACKOFF_SECONDS))
"""How each of them delivers."""

Kind = Literal["thread", "process", "external"]
Way = Literal["bus", "sidecar"]


@dataclass(frozen=True, slots=True)
class Job:
    """What all agents of one run know. Several runs on one bus and store do not meet: all names carry the id.

    Args:
        id: the workflow's, such as "demo-3f9a1c".
        root: the folder whose files are measured.
    """

    id: str
    root: Path

    @property
    def assignments(self) -> str:
        """Where the coordinator publishes files to be measured; the coding agents share them."""
        return f"{phase_channel(WorkflowPhase.DEVELOPMENT)}:{self.id}"

    @property
    def reviews(self) -> str:
        """Where coding agents publish figures to be checked; the review agents share them."""
        return f"{self.assignments}:review"

    @property
    def audits(self) -> str:
        """Where the coordinator asks for an audit; one of the review agents answers."""
        return f"{self.assignments}:audit"

    @property
    def notices(self) -> str:
        """Where everybody tells the coordinator how far they are."""
        return workflow_channel(self.id)

    def durable(self, name: str) -> str:
        """What one of DURABLES is called on the bus."""
        return f"{self.id}.{name}"

    def task_id(self, path: str) -> str:
        """The id under which a file's result is stored."""
        return f"{self.id}/{path}"

    def path_of(self, task_id: str) -> str | None:
        """The file of a stored result; None for a result of another run."""
        return task_id.removeprefix(f"{self.id}/") if task_id.startswith(f"{self.id}/") else None


@dataclass(frozen=True, slots=True)
class Post:
    """One agent's place. It travels into spawned processes.

    Args:
        name: for people, such as "coding-process-1".
        way: whether it speaks to the bus and the state service directly, or through the sidecar.
        bus, state: the addresses that this way means.
    """

    job: Job
    name: str
    type: AgentType
    kind: Kind
    way: Way
    bus: str
    state: str

    @property
    def agent_id(self) -> str:
        """The id under which its state is stored: its name within the run."""
        return f"{self.job.id}.{self.name}"

    @property
    def external_channel(self) -> str:
        """The channel of the external program that this agent stands for."""
        return agent_channel(f"{self.agent_id}.program")
