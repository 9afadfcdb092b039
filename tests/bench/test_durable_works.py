"""Durable delivery is measured with real processes: everything is stored, consumed and acked, and a backlog stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

from scripts.bench.cli import command
from scripts.bench.comparison import compare
from scripts.bench.contender import FEW, few_waiting, of_peer, ours
from scripts.bench.payload import DURABLE
from scripts.bench.stage import Stage, stage
from scripts.bench.work import Work
from scripts.bench.works import backlog, durable, stored
from trunkline.v1 import bus_pb2_grpc, durable_pb2


async def _waiting(place: Stage) -> durable_pb2.DurableSubscription:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{place.port}") as channel:
        request = durable_pb2.GetDurableSubscriptionRequest(name=DURABLE)
        answer = await bus_pb2_grpc.BusServiceStub(channel).GetDurableSubscription(request)
    found: durable_pb2.DurableSubscription = answer.subscription
    return found


async def test_what_is_stored_is_consumed_and_acked() -> None:
    """The roles do what the figures say: each message once, and nothing is left unacked."""
    async with stage(ours(), "bus") as place:
        await stored.rate(place, 2_000, warm_up=0)
        measured = await durable.rate(place, 2_000)
        left = await _waiting(place)
    assert measured.value > 0
    assert measured.lost == 0
    assert (left.acked, left.waiting, left.leased, left.retrying, left.redelivered) == (2_000, 0, 0, 0, 0)


async def test_a_message_that_is_not_there_counts_as_lost() -> None:
    """A consumer that is promised more than was stored gives up and says how many came."""
    async with stage(ours(), "bus") as place:
        await stored.rate(place, 100, warm_up=0)
        assert (await durable.rate(place, 130)).lost == 30


async def test_a_filler_adds_what_is_missing() -> None:
    """Twice the same wish is one backlog."""
    async with stage(ours(), "bus") as place:
        for wished in (700, 700, 1_500):
            await backlog.fill(place, wished)
            assert (await _waiting(place)).waiting == wished


async def test_a_backlog_outlives_its_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each run finds what the one before found: as much is consumed as was published."""
    monkeypatch.setattr(backlog, "MESSAGES", 300)
    us = replace(ours(), waiting=3_000)
    lines: list[str] = []
    for work in (backlog.BACKLOG_PUBLISH, backlog.BACKLOG_CONSUME):
        (row,) = await compare(work, us, [replace(few_waiting(), waiting=1_000)], 2, lines.append, tmp_path, [])
        for series in (row.ours, row.peers):
            assert all(run.value > 0 and run.lost == 0 for run in series.runs)
    for name, least in ((us.name, 3_000), (FEW, 1_000)):
        async with stage(ours(), "bus", tmp_path / "backlog" / name) as place:
            left = await _waiting(place)
        assert left.waiting + left.leased + left.retrying == least
        assert left.acked == 4 * 300


async def test_a_bare_commit_is_timed_without_a_server() -> None:
    """SQLite has one ability, and no program."""
    async with stage(of_peer("sqlite"), "bus") as place:
        assert place.pids == []
        assert (await stored.store(place, 50, 1))["median"] > 0


@pytest.mark.parametrize(
    ("work", "peer"), [(stored.STORED, "nats"), (durable.DURABLE, "nats"), (durable.DURABLE, "nats-push")]
)
async def test_jetstream_does_the_same(work: Work, peer: str, tmp_path: Path) -> None:
    """Stored by publish, consumed by fetch, acked one by one; nothing is lost."""
    us, rival = (replace(one, most=1_000) for one in (ours(), of_peer(peer)))
    (row,) = await compare(work, us, [rival], 1, lambda _: None, tmp_path, [])
    assert row.peers.median > 0
    assert row.peers.lost == 0


def test_the_size_of_the_backlog_is_an_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A person can run it smaller, and the row says how small, and against whom."""
    monkeypatch.setattr(backlog, "MESSAGES", 200)
    arguments: Sequence[str] = ["--only", "backlog-consume", "--waiting", "2000", "--runs", "1"]
    done = CliRunner().invoke(command, [*arguments, "--json", str(tmp_path / "results.json")])
    assert done.exit_code == 0, done.output
    assert "2,000 waiting" in done.output
    assert "ours, 10,000" in done.output
