"""Work: one kind of thing that is measured, against whom, and what is asked of us."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from scripts.bench.peer import Service
from scripts.bench.stage import Stage


@dataclass(frozen=True, slots=True)
class Measurement:
    """What came of one run.

    Args:
        value: in the work's unit.
        lost: messages that were sent and never came.
    """

    value: float
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Work:
    """One row of the comparison for each peer.

    Args:
        name: what `--only` takes.
        title: for people. `{waiting}` in it stands for how many messages wait at ours.
        unit: of the figures.
        service: whose server is needed.
        goals: the peers, each with the ratio that is asked of us; None where none is.
        measure: does one run on a stage.
        smaller_is_better: for latencies; the ratio is then the peer's figure by ours. Ahead is always over 1.
        keeps: works that name the same folder here find in it what a contender's runs before left there; None: each run
            begins with an empty one.
    """

    name: str
    title: str
    unit: str
    service: Service
    goals: Mapping[str, float | None]
    measure: Callable[[Stage], Awaitable[Measurement]]
    smaller_is_better: bool = False
    keeps: str | None = None

    def ratio(self, ours: float, peers: float) -> float:
        """How far we are ahead; below 1 we are behind."""
        return peers / ours if self.smaller_is_better else ours / peers
