"""The benchmark tells the truth: ratios have one direction, losses are seen, results have their form."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.bench import command, report
from scripts.bench.comparison import Row
from scripts.bench.contender import FEW, Contender
from scripts.bench.payload import PAYLOAD, PAYLOAD_BYTES, TEXT
from scripts.bench.peer import Server
from scripts.bench.peers import OURS, PEERS
from scripts.bench.processes import Role, RunFailedError, free_port, start_server
from scripts.bench.tally import Tally
from scripts.bench.works import WORKS
from scripts.bench.works.live import LIVE
from scripts.bench.works.request import REQUEST_LATENCY

NATS = Contender("nats", "nats-py", "nats")


def test_everybody_sends_256_bytes() -> None:
    """What the peers send is the JSON of what we send."""
    assert len(PAYLOAD) == PAYLOAD_BYTES == 256
    assert json.loads(PAYLOAD) == {"data": TEXT}


def test_a_ratio_over_one_says_that_we_are_ahead() -> None:
    """For rates more is better, for latencies less."""
    assert Row(LIVE, NATS, ours=200, peer_value=100, ours_lost=0, peer_lost=0).ratio == 2
    assert Row(REQUEST_LATENCY, NATS, ours=200, peer_value=100, ours_lost=0, peer_lost=0).ratio == 0.5


def test_results_are_a_list_of_six_facts(tmp_path: Path) -> None:
    """bench-results.json has the form that programs read."""
    row = Row(LIVE, NATS, ours=200, peer_value=100, ours_lost=0, peer_lost=0)
    report.write([row], tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == [
        {"work": LIVE.title, "unit": "messages/s", "ours": 200, "peer": "nats", "peer_value": 100, "ratio": 2}
    ]


def test_names_of_works_are_unique() -> None:
    """`--only` means one work."""
    assert len({work.name for work in WORKS}) == len(WORKS)


def test_each_work_names_peers_that_there_are() -> None:
    """A rival that is spelt wrongly would be left out without a word."""
    assert {rival for work in WORKS for rival in work.goals} == {FEW, *PEERS} - {OURS}


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


def test_it_measures_for_real_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run of real processes: our bus, and ZeroMQ which needs no server."""
    pytest.importorskip("zmq", reason="the extra bench is not installed")
    monkeypatch.setattr("scripts.bench.peers.ours.Trunkline.messages", 20_000)
    path = tmp_path / "results.json"
    arguments = ["--only", "live", "--peer", "zeromq", "--runs", "1", "--json", str(path)]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    (row,) = json.loads(path.read_text())
    assert row["ours"] > 0
    assert row["peer_value"] > 0
    assert row["ratio"] == pytest.approx(row["ours"] / row["peer_value"], abs=0.001)


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
    row = replace(Row(LIVE, NATS, ours=200, peer_value=100, ours_lost=0, peer_lost=0), ours_lost=7)
    assert any("7 lost" in str(cell) for cell in report.table([row]).columns[2].cells)
