"""Comparison: interleaved runs of us and the peers, their medians and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scripts.bench.contender import Contender
from scripts.bench.stage import stage
from scripts.bench.work import Measurement, Work


@dataclass(frozen=True, slots=True)
class Row:
    """How we stand against one peer in one work. Lost messages are summed over all runs."""

    work: Work
    peer: Contender
    ours: float
    peer_value: float
    ours_lost: int
    peer_lost: int

    @property
    def ratio(self) -> float:
        """Over 1 where we are ahead."""
        return self.work.ratio(self.ours, self.peer_value)

    @property
    def goal(self) -> float | None:
        """The ratio that is asked of us, if any."""
        return self.work.goals.get(self.peer.name)


@dataclass(slots=True)
class Series:
    """One contender's runs of one work."""

    runs: list[Measurement] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(run.value for run in self.runs)

    @property
    def lost(self) -> int:
        return sum(run.lost for run in self.runs)


async def compare(
    work: Work, us: Contender, rivals: Sequence[Contender], runs: int, report: Callable[[str], None], folder: Path
) -> list[Row]:
    """Runs a work by us and by each rival in turn, and that several times: whatever else the machine does hits all.

    Args:
        folder: for what runs keep.

    Raises:
        RunFailedError: a server or a role did not do its part.
    """
    series = {contender.name: Series() for contender in (us, *rivals)}
    for run in range(1, runs + 1):
        for contender in (us, *rivals):
            kept = folder / work.keeps / contender.name if work.keeps is not None else None
            async with stage(contender, work.service, kept) as place:
                measured = await work.measure(place)
            series[contender.name].runs.append(measured)
            lost = f", {measured.lost:,} lost" if measured.lost else ""
            report(f"{work.name} {run}/{runs} {contender.name}: {measured.value:,.0f} {work.unit}{lost}")
    work = replace(work, title=work.title.format(waiting=f"{us.waiting:,}"))
    mine = series[us.name]
    return [
        Row(work, rival, mine.median, series[rival.name].median, mine.lost, series[rival.name].lost) for rival in rivals
    ]
