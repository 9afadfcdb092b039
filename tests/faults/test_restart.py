"""The one bus that keeps its journal in a file is ended and started again while agents work through it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import NamedTuple

import pytest

from tests.patience import PATIENCE
from tests.programs import RunningProgram
from tests.redis.traffic import PUBLISHED_AT_LEAST, Ledger, Way, by_client, longest_pause, numbered, until
from tests.sidecar.ways import by_calls, by_stream
from trunkline import AgentMessage, BusDisconnectedError, GrpcMessageBus, NoRespondersError

log = logging.getLogger(__name__)

ASKED = "restart:asked"


class Asker:
    """Asks one question after the other, and never the same one again."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        """When each answer came."""
        self.failures: Counter[str] = Counter()
        self.is_over = False

    async def ask(self, address: str) -> None:
        async with GrpcMessageBus(address) as bus:
            while not self.is_over:
                try:
                    await bus.request(ASKED, numbered(len(self.moments)), timeout=PATIENCE)
                except (BusDisconnectedError, NoRespondersError) as error:
                    self.failures[error.error_code] += 1
                else:
                    self.moments.append(time.monotonic())
                await asyncio.sleep(0.005)

    async def goes_on(self) -> None:
        """Returns when more was answered."""
        enough = len(self.moments) + PUBLISHED_AT_LEAST
        await until(lambda: len(self.moments) >= enough, "more answers")


class Publishers(NamedTuple):
    """Who publishes through the sidecar, how, and how many messages at the same time."""

    way: Way
    at_once: int


THROUGH_SIDECAR = {
    "client": Publishers(by_client, 1),
    "clients": Publishers(by_client, 8),
    "calls": Publishers(by_calls, 1),
    "stream": Publishers(by_stream, 8),
}


@pytest.mark.parametrize("end", [RunningProgram.stop, RunningProgram.kill], ids=["stopped", "killed"])
async def test_a_restart_under_work_loses_nothing(
    killable_bus: RunningProgram, killable_sidecar: RunningProgram, end: Callable[[RunningProgram], object]
) -> None:
    """SIGTERM or SIGKILL, and the same program on the same file and port: what has a receipt, the bus's or the
    sidecar's, is stored once, in the order of its publisher; publishers, subscribers, askers and who answers are back
    by themselves. Through the sidecar no stored publish is refused, in whatever way it is made."""
    ways = {"direct": killable_bus.address, **dict.fromkeys(THROUGH_SIDECAR, killable_sidecar.address)}
    ledgers = {way: Ledger(f"restart:{way}") for way in ways}
    askers = {"direct": Asker(), "client": Asker()}
    traffic: list[Ledger | Asker] = [*ledgers.values(), *askers.values()]

    async with AsyncExitStack() as stack, GrpcMessageBus(killable_sidecar.address) as responder:

        async def answer(came: AgentMessage) -> None:
            await responder.publish("restart:answers", came.create_response("tests", "answer", {}))

        await responder.subscribe(ASKED, answer)
        for way, address in ways.items():
            await stack.enter_async_context(ledgers[way].work(address, durable=way))
        async with asyncio.TaskGroup() as tasks:
            for way, address in ways.items():
                tasks.create_task(ledgers[way].publish(address, *THROUGH_SIDECAR.get(way, ())))
            for way, asker in askers.items():
                tasks.create_task(asker.ask(ways[way]))
            try:
                await asyncio.gather(*(each.goes_on() for each in traffic))
                began = time.monotonic()
                assert not await asyncio.to_thread(end, killable_bus)  # its exit code, if it was not killed
                ended = time.monotonic()
                await asyncio.to_thread(killable_bus.start)
                started = time.monotonic()
                await asyncio.gather(*(each.goes_on() for each in traffic))
            finally:
                for each in traffic:
                    each.is_over = True
        for each in ledgers.values():
            await until(lambda: {n for n, _, _ in each.deliveries} >= each.receipts.keys(), "all deliveries")  # noqa: B023

    log.info("ended in %.2f s, ready again in %.2f s", ended - began, started - ended)
    for way, ledger in ledgers.items():
        came = sorted((sequence, n) for n, sequence in {(n, sequence) for n, sequence, _ in ledger.deliveries})
        assert [n for _, n in came] == list(range(len(ledger.receipts))), way
        assert [key for key, times in ledger.deliveries.items() if times > 1] == []
        held = {n for n, receipt in ledger.receipts.items() if receipt.held_by_sidecar}
        assert {(receipt.sequence, n) for n, receipt in ledger.receipts.items() if n not in held} <= set(came)
        if way == "direct":
            assert not held
        else:
            assert held
            assert not ledger.refusals, way
        log.info(
            "%s: stored: %d receipts, %d of them the sidecar's, none for %.2f s, lost 0, refused meanwhile %s",
            *(way, len(ledger.receipts), len(held), longest_pause(ledger.moments), dict(ledger.refusals)),
        )
    for way, asker in askers.items():
        log.info(
            "%s: requests: %d answers, none for %.2f s, failed meanwhile %s",
            *(way, len(asker.moments), longest_pause(asker.moments), dict(asker.failures)),
        )
