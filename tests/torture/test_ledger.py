"""Everything is killed at random, and nothing is lost; and where something is taken away on purpose, it is found."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from tests.torture.audit import Wrong, audit
from tests.torture.crew import Crew
from tests.torture.ledger import read_all
from tests.torture.report import line, table
from tests.torture.run import GROUPS, Plan, create_groups, settle, torture


@pytest.mark.timeout(300)
def test_nothing_is_lost_whatever_is_killed(tmp_path: Path) -> None:
    """Bus, state, sidecar, publishers, subscribers, handlers and writers are killed with SIGKILL, 20 times in 20
    seconds, while handlers end in every way."""
    outcome = torture(Plan(kills=20, seconds=20, seed=11), tmp_path, lambda text: print(text, file=sys.stderr))  # noqa: T201
    print(table(outcome), line(outcome), sep="\n", file=sys.stderr)  # noqa: T201
    assert outcome.is_clean, (outcome.verdict.faults[:10], outcome.failures)
    assert sum(outcome.kills.values()) == 20
    assert outcome.verdict.receipted > 100
    assert min(outcome.verdict.deliveries[group] for group in GROUPS) >= outcome.verdict.receipted
    assert outcome.verdict.saves > 20
    assert len(outcome.verdict.endings) > 5


@pytest.mark.timeout(400)
def test_nothing_is_lost_of_several_replicas(tmp_path: Path) -> None:
    """So it is with three buses, and two state services, over one Redis that syncs each write: it is killed too, and
    replicas stand still for longer than their leases."""
    plan = Plan(kills=20, seconds=25, seed=5, replicas=3)
    outcome = torture(plan, tmp_path, lambda text: print(text, file=sys.stderr))  # noqa: T201
    print(table(outcome), line(outcome), sep="\n", file=sys.stderr)  # noqa: T201
    assert outcome.is_clean, (outcome.verdict.faults[:10], outcome.failures)
    assert outcome.kills["redis"]
    assert outcome.kills["bus"]
    assert outcome.stops
    assert outcome.verdict.receipted > 100
    assert min(outcome.verdict.deliveries[group] for group in GROUPS) >= outcome.verdict.receipted
    assert outcome.verdict.saves > 20


@pytest.mark.timeout(120)
def test_a_message_that_is_taken_from_the_journal_is_missed(tmp_path: Path) -> None:
    """A publisher has its receipts; then a run of messages is deleted from the file of the stopped bus."""
    with Crew(tmp_path) as crew:
        crew.bring_up("bus")
        asyncio.run(create_groups(crew.bus_address))
        crew.add_agent("publisher", "publisher-0", "publisher-0", crew.bus_address)
        crew.bring_up("publisher")
        deadline = time.monotonic() + 30
        while audit(read_all(crew.ledgers()), GROUPS).receipted < 100:
            assert time.monotonic() < deadline, "the publisher got no receipts"
            time.sleep(0.05)
        crew.finish("publisher")
        crew.finish("bus")
        journal = next(tmp_path.rglob("bus.db"))
        with sqlite3.connect(journal) as connection:
            held = "SELECT min(sequence) FROM runs WHERE key IS NULL"
            assert connection.execute(f"DELETE FROM runs WHERE sequence = ({held})").rowcount == 1
        connection.close()
        crew.bring_up("bus")
        for index, group in enumerate(GROUPS):
            crew.add_agent("subscriber", f"subscriber-{index}", group, crew.bus_address)
        crew.bring_up("subscriber")
        asyncio.run(settle(crew, patience=5))
        crew.finish("subscriber")
        verdict = audit(read_all(crew.ledgers()), GROUPS)
    assert verdict.count(Wrong.NEVER_DELIVERED) >= len(GROUPS)
    assert {fault.wrong for fault in verdict.faults} == {Wrong.NEVER_DELIVERED}
