"""Live publish to a subscriber's callback, where the two are clients of different replicas of the bus."""

from __future__ import annotations

from scripts.bench.peers.our_replicas import TrunklineReplicas
from scripts.bench.questions import REPLICAS
from scripts.bench.resources import CpuClock
from scripts.bench.stage import RUN_SECONDS, Stage
from scripts.bench.work import Measurement, Work, each


async def measure(stage: Stage) -> Measurement:
    """From the publisher's first call to the subscriber's last message; the broker is all that stands between."""
    peer = stage.peer
    count = stage.at_most(peer.messages)
    where = {"port": peer.second} if isinstance(peer, TrunklineReplicas) else {}
    subscriber = await stage.role("subscriber", count=count, **where)
    publisher = await stage.role("publisher", count=count)
    brokers = CpuClock(*stage.pids)
    subscriber.go()
    publisher.go()
    sent = await publisher.result(RUN_SECONDS)
    got = await subscriber.result(RUN_SECONDS)
    used = brokers.used()
    return Measurement(
        got["received"] / (got["ended"] - sent["began"]),
        int(sent["sent"] - got["received"]),
        each(sent["sent"], publisher=sent["cpu"], broker=used, subscriber=got["cpu"]),
    )


LIVE_REPLICAS = Work(
    name="live-replicas",
    title="live publish → subscriber's callback",
    unit="messages/s",
    service="bus",
    rivals={REPLICAS: ("redis",)},
    goals={"redis": 2.0},
    measure=measure,
    ours="trunkline-replicas",
)
