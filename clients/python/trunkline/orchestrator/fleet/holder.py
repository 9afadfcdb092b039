"""Holder: one start of an orchestrator."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from trunkline.orchestrator.registry.life import Life


@dataclass(frozen=True, slots=True)
class Holder:
    """One start of an orchestrator, to which records belong."""

    name: str
    id: str
    """UUID of this start."""
    host: str = field(default_factory=socket.gethostname)

    def task_id(self, agent: str, life: Life) -> str:
        """Returns the id of an agent's life in the store."""
        return f"{agent}:{self.id}:{life.number}"
