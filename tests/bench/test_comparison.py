"""The benchmark tells the truth: ratios have one direction, losses are seen, results have their form."""

from __future__ import annotations

import json
import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.bench import report
from scripts.bench.cli import command
from scripts.bench.comparison import Row, Series
from scripts.bench.contender import FEW, Contender, of_peer, ours
from scripts.bench.payload import PAYLOAD, PAYLOAD_BYTES, TEXT
from scripts.bench.peer import Server
from scripts.bench.peers import PEERS
from scripts.bench.processes import Role, RunFailedError, free_port, start_server
from scripts.bench.questions import QUESTIONS, RUNTIMES, TYPED
from scripts.bench.tally import Tally
from scripts.bench.work import Measurement, Work
from scripts.bench.works import WORKS
from scripts.bench.works.live import LIVE
from scripts.bench.works.request import REQUEST_LATENCY

SQLITE = of_peer("sqlite")  # the one whose library is always there


def _row(work: Work, ours_value: float, peer_value: float, peer: Contender = SQLITE, lost: int = 0) -> Row:
    """A row of two runs each, of which both are alike."""
    cpu = {"publisher": 2.0, "broker": 3.0}
    mine = [Measurement(ours_value, lost, cpu)] * 2
    return Row(work, Series(ours(), mine), Series(peer, [Measurement(peer_value, 0, {**cpu, "subscriber": 5.0})] * 2))


def test_everybody_sends_256_bytes() -> None:
    """What the peers send is the JSON of what we send."""
    assert len(PAYLOAD) == PAYLOAD_BYTES == 256
    assert json.loads(PAYLOAD) == {"data": TEXT}


def test_a_ratio_over_one_says_that_we_are_ahead() -> None:
    """For rates more is better, for latencies less."""
    assert _row(LIVE, 200, 100).ratio == 2
    assert _row(REQUEST_LATENCY, 200, 100).ratio == 0.5


def test_results_have_all_figures(tmp_path: Path) -> None:
    """bench-results.json has the form that programs read: a list, an object for each peer in each work."""
    report.write([_row(LIVE, 200, 100)], tmp_path / "results.json")
    (result,) = json.loads((tmp_path / "results.json").read_text())
    versions = {name: result.pop(f"{name}_versions") for name in ("ours", "peer")}
    assert versions["ours"][0].startswith("trunkline ")
    assert versions["peer"] == [f"sqlite {sqlite3.sqlite_version}"]
    assert result == {
        "question": TYPED,
        "work": LIVE.title,
        "unit": "messages/s",
        "ours": 200,
        "peer": "sqlite",
        "peer_value": 100,
        "ratio": 2,
        "asked": None,
        "ours_cpu_us": {"publisher": 2, "broker": 3, "sum": 5},
        "peer_cpu_us": {"publisher": 2, "broker": 3, "subscriber": 5, "sum": 10},
        "ours_runs": [200, 200],
        "peer_runs": [100, 100],
        "ours_lost": 0,
        "peer_lost": 0,
    }


def test_a_figure_is_the_median_of_its_runs() -> None:
    """One run that something disturbed changes nothing, neither in the rate nor in what a message costs."""
    runs = [Measurement(value, cpu={"broker": value, "publisher": 1.0}) for value in (10, 30, 1_000)]
    series = Series(ours(), runs)
    assert series.median == 30
    assert series.cpu == {"broker": 30, "publisher": 1, "sum": 31}


def test_a_table_answers_one_question() -> None:
    """We stand first in each, then those that answer it; who is beside us in two of them is measured once."""
    rows = [_row(LIVE, 200, 100, replace(SQLITE, name=name)) for name in ("faststream", "autogen", "slim")]
    typed, runtimes = report.tables(rows)
    assert (typed.title, runtimes.title) == (TYPED, RUNTIMES)
    assert [len(table.rows) for table in (typed, runtimes)] == [3, 4]
    assert list(typed.columns[7].cells) == ["", "", "[green]2.00[/]"]
    page = report.markdown(rows)
    assert page.count(f"| {LIVE.title} | Trunkline | 200 messages/s | 2.0 | 3.0 |  | 5.0 |  |") == 2


def test_names_of_works_are_unique() -> None:
    """`--only` means one work."""
    assert len({work.name for work in WORKS}) == len(WORKS)


def test_each_work_names_peers_that_there_are() -> None:
    """A rival that is spelt wrongly would be left out without a word."""
    assert {rival for work in WORKS for rival in work.names} == {FEW, *PEERS} - {work.ours for work in WORKS}
    assert all(set(work.goals) <= set(work.names) for work in WORKS)
    assert {question for work in WORKS for question in work.rivals} == set(QUESTIONS)


async def test_a_tally_ends_with_the_last_message() -> None:
    """Nobody waits for more than what is expected."""
    tally = Tally(2)
    tally.count("ab")
    tally.count(b"cd")
    assert (await tally.reception()).received == 2
    assert tally.octets == 4


async def test_a_lost_message_is_counted_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscriber that gets nothing more gives up and says how many came."""
    monkeypatch.setattr("scripts.bench.tally.IDLE_SECONDS", 0.2)
    tally = Tally(3)
    tally.count("ab")
    assert (await tally.reception()).received == 1


async def test_a_missing_server_is_named(tmp_path: Path) -> None:
    """A program that is not installed gives a clear word."""
    with pytest.raises(RunFailedError, match="no-such-program is not installed"):
        await start_server(Server(("no-such-program",)), free_port(), tmp_path / "log", {})


async def test_a_server_that_ends_at_once_shows_what_it_wrote(tmp_path: Path) -> None:
    """What it said is in the error."""
    server = Server(("sh", "-c", "echo the reason; exit 3"))
    with pytest.raises(RunFailedError, match="the reason"):
        await start_server(server, free_port(), tmp_path / "log", {})


async def test_a_role_that_fails_shows_why(tmp_path: Path) -> None:
    """An unknown role ends; its traceback is in the error."""
    order = {"peer": "zeromq", "service": "bus", "port": free_port()}
    role_of_nobody = Role.start("nobody", order, tmp_path / "log", {})
    with pytest.raises(RunFailedError, match="KeyError: 'nobody'"):
        await role_of_nobody


def test_it_measures_for_real_and_loses_nothing(tmp_path: Path) -> None:
    """The quick form: one run of real processes: our bus, and ZeroMQ which needs no server."""
    path = tmp_path / "results.json"
    arguments = ["--only", "live-bytes", "--peer", "zeromq", "--quick", "--json", str(path)]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    (row,) = json.loads(path.read_text())
    assert row["ours"] > 0
    assert row["peer_value"] > 0
    assert row["ratio"] == pytest.approx(row["ours"] / row["peer_value"], abs=0.001)


def test_alone_it_says_what_each_run_came_to(tmp_path: Path) -> None:
    """A rate, and what a message cost whom; nobody else is run, and nothing is written."""
    path = tmp_path / "results.json"
    done = CliRunner().invoke(command, ["--only", "live", "--alone", "--quick", "--json", str(path)])
    assert done.exit_code == 0, done.output
    said = " ".join(done.stderr.split())
    assert re.fullmatch(r"live 1/1 trunkline: [\d,]+ messages/s(, (publisher|broker|subscriber) [\d.]+ µs){3}", said)
    assert not path.exists()


def test_alone_has_no_peer() -> None:
    """What contradicts itself is refused."""
    done = CliRunner().invoke(command, ["--only", "live", "--alone", "--peer", "nats"])
    assert done.exit_code == 2
    assert "--alone" in done.output


def test_a_channel_is_measured_beside_pythons_queues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between threads and between processes; no program of ours is needed."""
    monkeypatch.setattr("scripts.bench.works.channel.MESSAGES", 2_000)
    path = tmp_path / "results.json"
    arguments = [
        "--only",
        "channel-thread",
        "--only",
        "channel-process",
        "--peer",
        "queue",
        "--peer",
        "multiprocessing",
    ]
    done = CliRunner().invoke(command, [*arguments, "--runs", "1", "--json", str(path)])
    assert done.exit_code == 0, done.output
    rows = json.loads(path.read_text())
    assert [(row["peer"], row["unit"]) for row in rows] == [("queue", "messages/s"), ("multiprocessing", "messages/s")]
    assert all(row["ours"] > 0 and row["peer_value"] > 0 for row in rows)


def test_a_lost_message_stands_in_the_table() -> None:
    """Whoever reads the figure sees what it cost."""
    rows = [_row(LIVE, 200, 100, lost=7)]
    (table,) = report.tables(rows)
    assert any("14 lost" in str(cell) for cell in table.columns[1].cells)
    assert "200 messages/s, 14 lost" in report.markdown(rows)


def test_a_peer_that_takes_no_part_is_named() -> None:
    """What was asked for and cannot be had is no empty table."""
    done = CliRunner().invoke(command, ["--only", "live", "--peer", "zeromq"])
    assert done.exit_code == 2
    assert "--peer zeromq" in done.output
