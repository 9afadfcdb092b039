"""Each peer does its work for real: nothing is lost, what it costs is counted by role, and equal work is equal."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from scripts import tools
from scripts.bench.contender import by, of_peer, ours
from scripts.bench.payload import TEXT
from scripts.bench.peers import fields, structs
from scripts.bench.peers.nats import Nats
from scripts.bench.peers.nats_synced import NatsSynced
from scripts.bench.resources import CpuClock, own_cpu_seconds
from scripts.bench.stage import stage
from scripts.bench.work import Work
from scripts.bench.works.durable import DURABLE, DURABLE_REDIS
from scripts.bench.works.fan_out import FAN_OUT
from scripts.bench.works.live import LIVE, LIVE_BYTES, LIVE_SECURED
from scripts.bench.works.parts import PARTS_WORK
from scripts.bench.works.replicas import LIVE_REPLICAS
from scripts.bench.works.request import REQUEST, REQUEST_LATENCY, REQUEST_SECURED
from scripts.bench.works.state import STATE_GET, STATE_REDIS, STATE_SAVE
from scripts.bench.works.stored import STORED, STORED_ALONE, STORED_REDIS
from trunkline import AgentMessage, MessageType, Priority

MESSAGES = 300
SENT = {"publisher", "broker", "subscriber"}
STORED_BY = {"publisher", "broker"}

WORK_OF_PEERS = [
    *((work, name, SENT) for work in (LIVE, REQUEST) for name in LIVE.names),
    *((REQUEST_LATENCY, name, SENT) for name in ("nats-msgspec", "autogen", "slim")),
    *((LIVE_BYTES, name, SENT) for name in ("nats", "nats-next", "zeromq")),
    *((FAN_OUT, name, SENT) for name in ("nats-msgspec", "nats-pydantic")),
    *((work, "nats-synced", STORED_BY) for work in (STORED, STORED_ALONE, STATE_SAVE, STATE_GET)),
    (DURABLE, "nats-synced", {"broker", "subscriber"}),
    *((work, name, SENT) for work in (LIVE_SECURED, REQUEST_SECURED) for name in (work.ours, *work.names)),
    (PARTS_WORK, "nats", SENT),
    (LIVE_REPLICAS, "redis", SENT),
    *((work, "redis-synced", STORED_BY) for work in (STORED_REDIS, STATE_REDIS)),
    (DURABLE_REDIS, "redis-synced", {"broker", "subscriber"}),
]
OVER_REDIS = [(LIVE_REPLICAS, SENT), (STORED_REDIS, STORED_BY), (STATE_REDIS, STORED_BY)]


@pytest.mark.parametrize(
    ("work", "peer", "roles"), WORK_OF_PEERS, ids=[f"{work.name}-{peer}" for work, peer, _ in WORK_OF_PEERS]
)
async def test_a_peer_does_its_work(work: Work, peer: str, roles: set[str]) -> None:
    """Every message comes, every request and save is answered; each role has used some of a core."""
    async with stage(replace(of_peer(peer), most=MESSAGES), work.service) as place:
        measured = await work.measure(place)
    assert measured.value > 0
    assert measured.lost == 0
    assert set(measured.cpu) == roles
    assert sum(measured.cpu.values()) > 0
    assert min(measured.cpu.values()) >= 0


async def test_we_carry_bytes_where_peers_do() -> None:
    """Beside peers that send bytes, ours are bytes too, under our own name."""
    us = by(replace(ours(), most=MESSAGES), LIVE_BYTES.ours)
    assert (us.name, us.title) == ("trunkline", "Trunkline, bytes as data")
    async with stage(us, LIVE_BYTES.service) as place:
        measured = await LIVE_BYTES.measure(place)
    assert measured.lost == 0
    assert set(measured.cpu) == SENT


@pytest.mark.parametrize(("work", "roles"), OVER_REDIS, ids=[work.name for work, _ in OVER_REDIS])
async def test_we_do_it_over_redis(work: Work, roles: set[str]) -> None:
    """With what runs beneath our service, which counts to what a message costs."""
    async with stage(by(replace(ours(), most=MESSAGES), work.ours), work.service) as place:
        measured = await work.measure(place)
        assert len(place.pids) > 1
    assert measured.lost == 0
    assert set(measured.cpu) == roles


async def test_our_answers_in_parts() -> None:
    """Every part comes, and each role has used some of a core."""
    async with stage(replace(ours(), most=6), PARTS_WORK.service) as place:
        measured = await PARTS_WORK.measure(place)
    assert measured.value > 0
    assert set(measured.cpu) == SENT


async def test_what_a_message_costs_is_what_its_processes_used() -> None:
    """Of all roles together, no more than the machine has: a cost is for each message and not of the whole run."""
    async with stage(replace(ours(), most=20_000), LIVE.service) as place:
        measured = await LIVE.measure(place)
    cores = sum(measured.cpu.values()) / 1e6 * measured.value
    assert 0 < cores <= (os.cpu_count() or 1) + 1


def test_the_same_fields_are_the_fields_of_our_message() -> None:
    """Peers that do equal work write and read each of them, with values of the same kinds."""
    names = set(AgentMessage.model_fields)
    assert set(fields.Model.model_fields) == names
    assert {field.name for field in msgspec.structs.fields(structs.Struct)} == names
    assert [kind.value for kind in fields.Kind] == [kind.value for kind in MessageType]
    assert [level.value for level in fields.Level] == [level.value for level in Priority]
    mine = AgentMessage(message_type=MessageType.TASK_RESULT, sender_id="bench", payload={"data": TEXT})
    for written in (fields.new_model().model_dump_json(), structs.encode(structs.new_struct())):
        theirs = AgentMessage.model_validate_json(written)
        assert theirs.model_copy(update={"message_id": mine.message_id, "timestamp": mine.timestamp}) == mine


def test_each_message_of_the_same_fields_is_a_new_one() -> None:
    """With an id and a time of its own, as ours; a reply is tied to its request."""
    for first, second in (
        (fields.new_model(), fields.new_model()),
        (structs.new_struct(), structs.new_struct()),
    ):
        assert first.message_id != second.message_id
        assert first.timestamp <= second.timestamp
    assert fields.reply_to(model := fields.new_model()).correlation_id == model.message_id
    assert structs.reply_to(struct := structs.new_struct()).correlation_id == struct.message_id


def test_nats_is_the_version_that_is_named(tmp_path: Path) -> None:
    """An older one on the PATH is not taken, and JetStream is told to sync where its peer says so."""
    program, *_ = Nats().server("bus", 1, tmp_path).command
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    assert tools.NATS_SERVER_VERSION in said.split()
    NatsSynced().server("bus", 1, tmp_path)
    assert "sync_interval: always" in (tmp_path / "nats.conf").read_text()


def test_a_program_of_another_version_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places are looked at one after the other, until the version is right."""
    for folder, version in (("old", "v2.9.10"), ("new", tools.NATS_SERVER_VERSION)):
        program = tmp_path / folder / "nats-server"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho nats-server: {version}\n")
        program.chmod(0o755)
    monkeypatch.setattr(tools, "PLACES", (str(tmp_path / "old"),))
    assert tools.find("nats-server") is None
    monkeypatch.setattr(tools, "PLACES", (str(tmp_path / "old"), str(tmp_path / "new")))
    assert tools.find("nats-server") == str(tmp_path / "new" / "nats-server")


def test_cpu_is_counted_from_the_start_of_the_clock() -> None:
    """Of a process; where there is none, it is nothing."""
    clock, before = CpuClock(os.getpid()), own_cpu_seconds()
    while own_cpu_seconds() - before < 0.1:
        pass
    assert clock.used() > 0.05
    assert CpuClock().used() == 0
