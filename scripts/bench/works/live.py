"""Live publish to a subscriber's callback: one publisher, one subscriber, a process each."""

from __future__ import annotations

from scripts.bench.stage import RUN_SECONDS, Stage
from scripts.bench.work import Measurement, Work


async def measure(stage: Stage) -> Measurement:
    """From the publisher's first call to the subscriber's last message."""
    count = stage.peer.messages
    subscriber = await stage.role("subscriber", count=count)
    publisher = await stage.role("publisher", count=count)
    subscriber.go()
    publisher.go()
    sent = await publisher.result(RUN_SECONDS)
    got = await subscriber.result(RUN_SECONDS)
    return Measurement(got["received"] / (got["ended"] - sent["began"]), int(sent["sent"] - got["received"]))


LIVE = Work(
    name="live",
    title="live publish → subscriber's callback",
    unit="messages/s",
    service="bus",
    goals={"nats": 3.0, "nats-next": None, "redis": 3.0, "zeromq": 0.3},
    measure=measure,
)
