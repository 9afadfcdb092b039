"""Kept: the bytes that stored messages and records take, of a disk and of Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from redis import Redis

from scripts.bench.contender import Contender, of_peer, ours
from scripts.bench.peers.our_redis import TrunklineOverRedis
from scripts.bench.promise import Figure, Promise
from scripts.bench.promises.memory import save_records
from scripts.bench.stage import Stage, stage
from scripts.bench.works.backlog import fill
from scripts.bench.works.stored import store
from trunkline import GrpcMessageBus, GrpcStateManager

MESSAGES: Final = 100_000
ALONE: Final = 3_000
RECORDS: Final = 50_000

MOST_MESSAGE: Final = 700.0
MOST_RECORD: Final = 1_800.0
"""Bytes."""

Weigh = Callable[[Stage], Awaitable[float]]

_FILE: Final = "the journal's file"
_COPY: Final = "the owner's working copy"
_REDIS: Final = "Redis"


async def measure(_: int) -> Sequence[Figure]:
    """Messages with a payload of 256 bytes, and agents with 256 bytes of their own."""
    with TemporaryDirectory(prefix="trunkline-bench-") as folder:
        async with stage(ours(), "state", Path(folder)) as place, GrpcStateManager(_address(place)) as state:
            await save_records(state, "many", RECORDS)
        record = (Path(folder) / "state.db").stat().st_size / RECORDS
    return [
        *await _messages(ours(), {_FILE: _file_bytes}),
        *await _messages(of_peer("trunkline-redis"), {_REDIS: _redis_bytes, _COPY: _file_bytes}),
        Figure("a record, of the state's file", "bytes", record, MOST_RECORD),
        Figure("a record, of Redis", "bytes", await _record_in_redis(), MOST_RECORD),
    ]


async def _messages(
    contender: Contender, places: Mapping[str, Callable[[Stage], Awaitable[float]]]
) -> Sequence[Figure]:
    figures: list[Figure] = []
    async with stage(contender, "bus") as there:
        for how, count, publish in (
            ("published with others", MESSAGES, fill(there, MESSAGES)),
            ("published alone", ALONE, store(there, ALONE, 1, warm_up=0)),
        ):
            before = {place: await weigh(there) for place, weigh in places.items()}
            await publish
            for place, weigh in places.items():
                each = (await weigh(there) - before[place]) / count
                figures.append(Figure(f"a stored message, {how}, of {place}", "bytes", each, MOST_MESSAGE))
    return figures


async def _record_in_redis() -> float:
    async with stage(of_peer("trunkline-redis"), "state") as place, GrpcStateManager(_address(place)) as state:
        before = await _redis_bytes(place)
        await save_records(state, "many", RECORDS)
        return (await _redis_bytes(place) - before) / RECORDS


async def _file_bytes(place: Stage) -> float:
    async with GrpcMessageBus(_address(place)) as bus:
        return (await bus.statistics()).journal_file_bytes


async def _redis_bytes(place: Stage) -> float:
    peer = place.peer
    assert isinstance(peer, TrunklineOverRedis)
    with Redis(port=peer.redis_port) as client:
        found = client.info("memory")
    assert isinstance(found, dict)
    used: int = found["used_memory"]
    return used


def _address(place: Stage) -> str:
    return f"127.0.0.1:{place.port}"


KEPT = Promise("kept", measure)
