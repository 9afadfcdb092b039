"""What is promised of Trunkline alone is measured with real processes, and a promise that is broken is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.bench import cli, report
from scripts.bench.cli import command
from scripts.bench.promise import Figure, Promise
from scripts.bench.promises import PROMISES, commands, idle, kept, memory, ready, replicas, stalled, waiting
from scripts.bench.works import WORKS
from trunkline.limits import MiB

BROKEN = Figure("too much", "MB", value=81, bound=80)


def test_the_bound_itself_is_still_held() -> None:
    """At most means at most."""
    assert Figure("just right", "MB", value=80, bound=80).held
    assert not BROKEN.held


def test_a_rate_has_a_least_value() -> None:
    """Where more is better, the bound is below."""
    slow = Figure("too slow", "commands/s", value=19_999, bound=20_000, more_is_better=True)
    assert not slow.held
    assert replace(slow, value=20_000).held
    assert "| too slow | commands/s | 19,999 | at least 20,000 |" in report.promises_markdown([slow])


def test_no_promise_has_the_name_of_a_work() -> None:
    """`--only` means one thing."""
    assert not {promise.name for promise in PROMISES} & {work.name for work in WORKS}


def test_a_broken_promise_stands_in_the_table() -> None:
    """Whoever reads the table sees it."""
    assert [str(cell) for cell in report.promises([BROKEN]).columns[4].cells] == ["[red]no[/]"]
    assert "| too much | MB | 81 | at most 80 |" in report.promises_markdown([BROKEN])


def test_a_broken_promise_fails_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Exit 1, with its name; no results are written where nothing was compared."""

    async def measure(_: int) -> Sequence[Figure]:
        return [BROKEN]

    monkeypatch.setattr(cli, "PROMISES", (Promise("idle", measure),))
    path = tmp_path / "results.json"
    done = CliRunner().invoke(command, ["--only", "idle", "--json", str(path)])
    assert done.exit_code == 1
    assert "not held: too much" in done.output
    assert not path.exists()


async def test_the_start_is_timed() -> None:
    """From the command to three programs that serve."""
    (figure,) = await ready.measure(1)
    assert 0 < figure.value < 20


async def test_each_idle_program_is_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory and share of a core, of all three."""
    monkeypatch.setattr(idle, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(idle, "SECONDS", 0.5)
    figures = await idle.measure(1)
    assert [figure.title for figure in figures[::2]] == [f"idle {name}: memory" for name in ("bus", "state", "sidecar")]
    assert all(figure.value > 10 for figure in figures[::2]), "no Python program is smaller"
    assert all(figure.unit == "%" for figure in figures[1::2])


async def test_what_clients_make_is_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement itself, with fewer of each: what is promised of a mean is not of a few, what has one size is."""
    for name, count in (
        *(("FEW", 2), ("CONNECTIONS", 10), ("SUBSCRIPTIONS", 100), ("DURABLES", 10)),
        *(("MESSAGES", 20_000), ("RECORDS", 2_000), ("QUEUES", 2 * MiB)),
    ):
        monkeypatch.setattr(memory, name, count)
    figures = await memory.measure(1)
    assert [figure.unit for figure in figures] == ["KB"] * 6 + ["MB", "KB", "MB"]
    assert [figure.title for figure in figures[:3]] == [
        f"{name}: memory of a client's connection" for name in ("bus", "state", "sidecar")
    ]
    records, _, full = figures[-3:]
    assert records.held
    assert full.held
    assert full.value > 10, "no Python program is smaller"


async def test_what_is_kept_is_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement itself, with fewer of each: a message with 256 bytes takes more than these, on either engine."""
    monkeypatch.setattr(kept, "MESSAGES", 20_000)
    monkeypatch.setattr(kept, "ALONE", 300)
    monkeypatch.setattr(kept, "RECORDS", 5_000)
    figures = await kept.measure(1)
    assert {figure.unit for figure in figures} == {"bytes"}
    together = [figure for figure in figures if "with others" in figure.title or "record" in figure.title]
    assert len(together) == 5
    assert all(figure.held and figure.value > 256 for figure in together)


async def test_what_redis_does_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement itself, with fewer messages: fewer commands than messages, and a script for each save."""
    monkeypatch.setattr(replicas, "MESSAGES", 2_000)
    monkeypatch.setattr(replicas, "BATCH", 1_000)
    monkeypatch.setattr(replicas, "KEPT", 2_000)
    figures = {figure.title: figure for figure in await replicas.measure(1)}
    assert figures["publish load of two replicas, of one's, by CPU"].value > 0
    counted = [figure for title, figure in figures.items() if title.startswith("commands to Redis")]
    assert len(counted) == 4
    assert all(figure.value > 0 for figure in counted)
    assert figures["commands to Redis for 1,000 stored messages, 512 in flight"].value < 1_000
    assert figures["commands to Redis for 1,000 saves, 64 in flight"].value > 1_000


async def test_one_that_never_reads_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement itself, with fewer messages: nothing is lost and memory is within its bound."""
    monkeypatch.setattr(stalled, "MESSAGES", 30_000)
    figures = await stalled.measure(1)
    assert [figure.value for figure in figures[1:]] == [0, 0]
    assert all(figure.held for figure in figures)


async def test_a_bus_for_which_much_waits_is_weighed_and_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement itself, with fewer messages: both buses start, and what waits is on disk, not in memory."""
    monkeypatch.setattr(waiting, "MESSAGES", 20_000)
    monkeypatch.setattr(waiting, "USED", 500)
    figures = await waiting.measure(1)
    assert [figure.unit for figure in figures] == ["MB", "MB", "s", "s"]
    assert all(figure.held for figure in figures[:2])
    assert all(0 < figure.value < 20 for figure in figures[2:])


async def test_commands_on_the_socket_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement itself, with fewer commands: each is answered."""
    monkeypatch.setattr(commands, "MANY", 2_000)
    monkeypatch.setattr(commands, "ALONE", 100)
    rate, alone = await commands.measure(1)
    assert (rate.unit, rate.bound, rate.more_is_better) == ("commands/s", 20_000, True)
    assert (alone.unit, alone.bound, alone.more_is_better) == ("ms", 5, False)
    assert min(rate.value, alone.value) > 0
