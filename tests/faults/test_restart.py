"""The one bus that keeps its journal in a file is stopped and started again while agents work through it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from contextlib import AsyncExitStack

from tests.patience import PATIENCE
from tests.programs import RunningProgram
from tests.redis.traffic import PUBLISHED_AT_LEAST, Ledger, longest_pause, numbered, until
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


async def test_a_restart_under_work_loses_nothing(
    killable_bus: RunningProgram, killable_sidecar: RunningProgram
) -> None:
    """SIGTERM, and the same program on the same file and port: what has a receipt, the bus's or the sidecar's, comes
    once as new; publishers, subscribers, askers and who answers are back by themselves."""
    ways = {"direct": killable_bus.address, "sidecar": killable_sidecar.address}
    ledgers = {way: Ledger(f"restart:{way}") for way in ways}
    askers = {way: Asker() for way in ways}
    traffic: list[Ledger | Asker] = [*ledgers.values(), *askers.values()]

    async with AsyncExitStack() as stack, GrpcMessageBus(killable_sidecar.address) as responder:

        async def answer(came: AgentMessage) -> None:
            await responder.publish("restart:answers", came.create_response("tests", "answer", {}))

        await responder.subscribe(ASKED, answer)
        for way, address in ways.items():
            await stack.enter_async_context(ledgers[way].work(address, durable=way))
        async with asyncio.TaskGroup() as tasks:
            for way, address in ways.items():
                tasks.create_task(ledgers[way].publish(address))
                tasks.create_task(askers[way].ask(address))
            try:
                await asyncio.gather(*(each.goes_on() for each in traffic))
                began = time.monotonic()
                assert await asyncio.to_thread(killable_bus.stop) == 0
                stopped = time.monotonic()
                await asyncio.to_thread(killable_bus.start)
                started = time.monotonic()
                await asyncio.gather(*(each.goes_on() for each in traffic))
            finally:
                for each in traffic:
                    each.is_over = True
        for each in ledgers.values():
            await until(lambda: {n for n, _, _ in each.deliveries} >= each.receipts.keys(), "all deliveries")  # noqa: B023

    log.info("stopped in %.2f s, ready again in %.2f s", stopped - began, started - stopped)
    for way, ledger in ledgers.items():
        came, asker = {(n, sequence) for n, sequence, _ in ledger.deliveries}, askers[way]
        assert len(came) == len(ledger.receipts)
        assert [key for key, times in ledger.deliveries.items() if times > 1] == []
        held = {n for n, receipt in ledger.receipts.items() if receipt.held_by_sidecar}
        assert {(n, receipt.sequence) for n, receipt in ledger.receipts.items() if n not in held} <= came
        assert way == "sidecar" or not held
        log.info(
            "%s: stored: %d receipts, %d of them the sidecar's, none for %.2f s, lost 0, refused meanwhile %s;"
            " requests: %d answers, none for %.2f s, failed meanwhile %s",
            *(way, len(ledger.receipts), len(held), longest_pause(ledger.moments), dict(ledger.refusals)),
            *(len(asker.moments), longest_pause(asker.moments), dict(asker.failures)),
        )
