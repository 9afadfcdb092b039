"""What a torture run came to, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tests.torture.audit import Wrong
from tests.torture.run import Outcome

TOLD_FAULTS: Final = 20
"""Of each run, so many faults are told one by one."""


def table(outcome: Outcome) -> str:
    """The figures of a run, and what was wrong."""
    return "\n".join((*_figures(outcome), "", *_faults(outcome)))


def line(outcome: Outcome) -> str:
    """What handlers made of it, in one line."""
    verdict = outcome.verdict
    told = (Wrong.LOST, Wrong.NEVER_DELIVERED, Wrong.INNOCENT, Wrong.UNTRUE, Wrong.STANDING_STILL)
    others = len(verdict.faults) - sum(map(verdict.count, told))
    lost = verdict.count(Wrong.LOST) + verdict.count(Wrong.NEVER_DELIVERED)
    return (
        f"{outcome.seconds:.0f} s, {verdict.receipted:,} stored, {sum(outcome.kills.values()):,} kills, "
        f"{outcome.stops} times a replica stood still, "
        f"{verdict.endings.total():,} handlers failed in {len(verdict.endings)} ways, "
        f"{verdict.dead_letters:,} dead letters: lost {lost}, innocent dead letters {verdict.count(Wrong.INNOCENT)}, "
        f"untrue reasons {verdict.count(Wrong.UNTRUE)}, subscriptions that stand still "
        f"{verdict.count(Wrong.STANDING_STILL)}, other faults {others}, failures {len(outcome.failures)}"
    )


def _figures(outcome: Outcome) -> Iterator[str]:
    verdict = outcome.verdict
    yield f"{outcome.seconds:.0f} s, {sum(outcome.kills.values())} kills by SIGKILL"
    for role, kills in outcome.kills.items():
        yield _row(f"  {role}", kills)
    yield _row("replicas that stood still", outcome.stops)
    yield _row("messages sent", verdict.sent)
    yield _row("  receipted as stored", verdict.receipted)
    yield _row("  of these published again, and known", verdict.duplicates)
    for group, deliveries in verdict.deliveries.items():
        yield _row(f"deliveries to {group}", deliveries)
        yield _row("  with attempt > 1", verdict.redeliveries[group])
        yield _row("  begun after a later attempt", verdict.late[group])
    yield _row("handlers that ended otherwise than by returning", verdict.endings.total())
    for way, count in sorted(verdict.endings.items()):
        yield _row(f"  {way}", count)
    yield _row("  dead letters", verdict.dead_letters)
    yield _row("state saves answered", verdict.saves)
    yield _row("  records read back", verdict.records)


def _faults(outcome: Outcome) -> Iterator[str]:
    for wrong in Wrong:
        yield _row(wrong, outcome.verdict.count(wrong))
    yield _row("programs that ended by themselves, or work left", len(outcome.failures))
    for fault in outcome.verdict.faults[:TOLD_FAULTS]:
        yield f"  {fault.wrong}: {fault.text}"
    for failure in outcome.failures[:TOLD_FAULTS]:
        yield f"  {failure}"


def _row(words: str, figure: int) -> str:
    return f"{words:<50}{figure:>10,}"
