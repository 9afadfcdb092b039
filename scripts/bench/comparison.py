"""Comparison: interleaved runs of us and the peers, their medians and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scripts.bench.contender import Contender, by
from scripts.bench.processes import RunFailedError
from scripts.bench.stage import stage
from scripts.bench.work import Measurement, Work


@dataclass(frozen=True, slots=True)
class Series:
    """One contender's runs of one work."""

    contender: Contender
    runs: list[Measurement] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle one of the figures."""
        return statistics.median(run.value for run in self.runs)

    @property
    def lost(self) -> int:
        """Messages that were lost in all runs."""
        return sum(run.lost for run in self.runs)

    @property
    def cpu(self) -> Mapping[str, float]:
        """The medians of what a message costs, by role, and of their `sum`, in microseconds of one core."""
        costs = [{**run.cpu, "sum": sum(run.cpu.values())} for run in self.runs]
        return {role: statistics.median(cost[role] for cost in costs) for role in costs[0]}


@dataclass(frozen=True, slots=True)
class Row:
    """How we stand against one peer in one work."""

    work: Work
    ours: Series
    peers: Series

    @property
    def question(self) -> str:
        """The question that this answers."""
        return self.work.question(self.peers.contender.name)

    @property
    def ratio(self) -> float:
        """Over 1 where we are ahead."""
        return self.work.ratio(self.ours.median, self.peers.median)

    @property
    def goal(self) -> float | None:
        """The ratio that is asked of us, if any."""
        return self.work.goals.get(self.peers.contender.name)


async def compare(
    work: Work,
    us: Contender,
    rivals: Sequence[Contender],
    runs: int,
    report: Callable[[str], None],
    folder: Path,
    failed: list[str],
) -> list[Row]:
    """Runs a work by us and by each rival in turn, and that several times: whatever else the machine does hits all.

    A rival's run that fails is left out, and the rival where none succeeds.

    Args:
        folder: for what runs keep.
        failed: takes what is to be said of a rival's run that failed.

    Raises:
        RunFailedError: in a run of ours a server or a role did not do its part.
    """
    us = by(us, work.ours)
    series = [Series(contender) for contender in (us, *(by(rival, work.ours) for rival in rivals))]
    for run in range(1, runs + 1):
        for each in series:
            contender = each.contender
            kept = folder / work.keeps / contender.name if work.keeps is not None else None
            try:
                async with stage(contender, work.service, kept) as place:
                    measured = await work.measure(place)
            except RunFailedError as error:
                if contender is us:
                    raise
                failed.append(f"{work.name} {run}/{runs} {contender.name}: {error}")
                report(failed[-1])
                continue
            each.runs.append(measured)
            report(f"{work.name} {run}/{runs} {contender.name}: {_said(work, measured)}")
    work = replace(work, title=work.title.format(waiting=f"{us.waiting:,}"))
    mine, *others = series
    return [Row(work, mine, other) for other in others if other.runs]


def _said(work: Work, measured: Measurement) -> str:
    lost = f", {measured.lost:,} lost" if measured.lost else ""
    cost = "".join(f", {role} {used:.1f} µs" for role, used in measured.cpu.items())
    return f"{measured.value:,.0f} {work.unit}{lost}{cost}"
