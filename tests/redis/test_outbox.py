"""The outbox of the state service over Redis by itself: who hands its messages on."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.patience import PATIENCE
from tests.redis.servers import RedisServer
from trunklined.redis.link import Link
from trunklined.redis.target import parse_url
from trunklined.relay.journal import Stock
from trunklined.state.engines.redis import outbox as module
from trunklined.state.engines.redis.layout import ROOM, keys_of
from trunklined.state.engines.redis.outbox import RedisOutbox

LEASE = 0.5
"""Seconds."""


async def test_whose_lease_ended_while_it_stood_still_takes_its_turn_again(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is over before anything was said of it: it waits for the lease, and holds nobody up meanwhile."""
    monkeypatch.setattr(module, "LEASE_SECONDS", LEASE)
    target = replace(parse_url(redis_server.url), prefix=f"outbox-{uuid4().hex}")
    stock = Stock("full", 100, 1_000_000, messages_limit="messages", bytes_limit="bytes")
    link = Link(target, ROOM)
    outbox = RedisOutbox(stock, link, keys_of(target), uuid4().hex)
    await outbox.open()
    try:
        async with asyncio.timeout(PATIENCE):
            await outbox.turn()
            time.sleep(2 * LEASE)  # noqa: ASYNC251  # as a process that is stopped
            assert not outbox.is_ours
            await outbox.turn()
            assert outbox.is_ours
    finally:
        await outbox.close()
        await link.close()
