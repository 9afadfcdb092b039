"""The order of one publisher's stored and live messages on one channel, at replicas over one journal."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest

from tests.contract.inbox import Inbox, numbered
from tests.redis.replicas import Replicas
from trunkline import GrpcMessageBus

ROUNDS = 50
PAIRS = [(n, kind) for n in range(ROUNDS) for kind in ("stored", "live")]


@pytest.mark.parametrize("awaits", [True, False], ids=["after the receipt", "before the receipt"])
async def test_what_is_live_follows_what_was_stored_before_it(journal_replicas: Replicas, *, awaits: bool) -> None:
    """A client of a replica that does not own the journal publishes; clients of both replicas listen."""
    there, here = journal_replicas.settle().address, journal_replicas.others[0].address
    channel = f"order:{uuid4().hex}"
    async with AsyncExitStack() as stack:
        inboxes = []
        for address in (here, there):
            inboxes.append(Inbox())
            await (await stack.enter_async_context(GrpcMessageBus(address))).subscribe(channel, inboxes[-1])
        publisher = await stack.enter_async_context(GrpcMessageBus(here))
        async with asyncio.TaskGroup() as tasks:
            for pair in PAIRS:
                message = numbered(list(pair))
                publishing: Coroutine[Any, Any, object] = (
                    publisher.publish(channel, message, stored=True)
                    if pair[1] == "stored"
                    else publisher.publish(channel, message)
                )
                if awaits:
                    await publishing
                else:
                    tasks.create_task(publishing)
        for inbox in inboxes:
            await inbox.have(len(PAIRS))
            assert [tuple(n) for n in inbox.numbers] == PAIRS
