"""What is promised of us alone, in the order of the report."""

from __future__ import annotations

from scripts.bench.promise import Promise
from scripts.bench.promises.commands import COMMANDS
from scripts.bench.promises.idle import IDLE
from scripts.bench.promises.kept import KEPT
from scripts.bench.promises.memory import MEMORY
from scripts.bench.promises.orchestrator import ORCHESTRATOR
from scripts.bench.promises.ready import READY
from scripts.bench.promises.replicas import REPLICAS
from scripts.bench.promises.stalled import STALLED
from scripts.bench.promises.waiting import WAITING

PROMISES: tuple[Promise, ...] = (*(READY, IDLE, MEMORY, STALLED, WAITING, KEPT, COMMANDS, ORCHESTRATOR, REPLICAS),)
