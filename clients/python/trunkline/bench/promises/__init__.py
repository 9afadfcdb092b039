"""What is promised of us alone, in the order of the report."""

from __future__ import annotations

from trunkline.bench.promise import Promise
from trunkline.bench.promises.commands import COMMANDS
from trunkline.bench.promises.idle import IDLE
from trunkline.bench.promises.orchestrator import ORCHESTRATOR
from trunkline.bench.promises.ready import READY
from trunkline.bench.promises.stalled import STALLED
from trunkline.bench.promises.waiting import WAITING

PROMISES: tuple[Promise, ...] = (READY, IDLE, STALLED, WAITING, COMMANDS, ORCHESTRATOR)
