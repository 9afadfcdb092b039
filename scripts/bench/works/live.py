"""Live publish to a subscriber's callback: one publisher, one subscriber, a process each."""

from __future__ import annotations

from scripts.bench.questions import RAW, RUNTIMES, TYPED
from scripts.bench.resources import CpuClock
from scripts.bench.stage import RUN_SECONDS, Stage
from scripts.bench.work import Measurement, Work, each, secured


async def measure(stage: Stage) -> Measurement:
    """From the publisher's first call to the subscriber's last message."""
    count = stage.at_most(stage.peer.messages)
    subscriber = await stage.role("subscriber", count=count)
    publisher = await stage.role("publisher", count=count)
    broker = CpuClock(*stage.pids)
    subscriber.go()
    publisher.go()
    sent = await publisher.result(RUN_SECONDS)
    got = await subscriber.result(RUN_SECONDS)
    return Measurement(
        got["received"] / (got["ended"] - sent["began"]),
        int(sent["sent"] - got["received"]),
        each(sent["sent"], publisher=sent["cpu"], broker=broker.used(), subscriber=got["cpu"]),
    )


LIVE = Work(
    name="live",
    title="live publish → subscriber's callback",
    unit="messages/s",
    service="bus",
    rivals={TYPED: ("nats-msgspec", "nats-pydantic", "faststream"), RUNTIMES: ("autogen", "slim")},
    measure=measure,
)
LIVE_BYTES = Work(
    name="live-bytes",
    title="live publish → subscriber's callback",
    unit="messages/s",
    service="bus",
    rivals={RAW: ("nats", "nats-next", "redis", "zeromq")},
    goals={"nats": 3.0, "redis": 3.0, "zeromq": 0.3},
    measure=measure,
    ours="trunkline-bytes",
)
LIVE_SECURED = secured(LIVE_BYTES, "live-secured")
