"""Drain: hands the bus what the sidecar holds for it, in order, until nothing is held."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import grpc
import structlog
from grpc import aio

from trunkline.errors import BusDisconnectedError, OverloadedError, TrunklineError
from trunkline.limits import DEDUP_SECONDS
from trunkline.v1 import bus_pb2, message_pb2
from trunkline.wire.opaque import bus_passthrough
from trunkline.wire.status import error_from_rpc
from trunklined.sidecar.config import DRAIN_RETRY_MAX, DRAIN_RETRY_MIN, DRAIN_TIMEOUT
from trunklined.sidecar.forwarder import Forwarder
from trunklined.sidecar.offline.backlog import Backlog
from trunklined.sidecar.offline.backlog_file import WINDOW_MESSAGES, Held
from trunklined.sidecar.offline.routing import Route, Routing

PUBLISH: Final = "/trunkline.v1.BusService/Publish"

_PublishRequest = bus_passthrough()["PublishRequest"]


class Drain:
    """Sends what is held: of each channel one batch at a time, the next when the bus has the one before, so that no
    failure changes the order.

    What was sent and not answered, since either side was killed in between, is sent again; the bus knows the message
    ids and stores nothing twice. It knows them for a while only (2 minutes by default): that a batch is being sent is
    therefore noted on disk, and what may be there twice after a longer pause is counted and logged.

    Args:
        backlog: what is held.
        routing: turned to the bus when nothing is held.
        forwarder: the way to the bus.
        clock: UNIX time in seconds.
    """

    def __init__(
        self, backlog: Backlog, routing: Routing, forwarder: Forwarder, clock: Callable[[], float] = time.time
    ) -> None:
        self.forwarded = 0
        """Messages that the bus took."""
        self.refused = 0
        """Messages that the bus will never take."""
        self.possible_duplicates = 0
        """Messages that the bus may have stored twice."""
        self._backlog = backlog
        self._routing = routing
        self._forwarder = forwarder
        self._clock = clock
        self._failures = 0
        self._done: list[Held] = []
        """Messages that the bus has and the backlog still holds."""
        self._runner: asyncio.Task[None] | None = None
        self._log = structlog.get_logger()

    def start(self) -> None:
        """Sends from now on, whenever the bus is connected."""
        self._runner = asyncio.create_task(self._run(), name="drain")

    async def close(self) -> None:
        """Stops sending; what the bus has not taken stays held. Idempotent."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            with suppress(asyncio.CancelledError):
                await runner

    async def _run(self) -> None:
        with suppress(BusDisconnectedError):  # the sidecar stops
            while True:
                await self._routing.wait_until(lambda: self._routing.is_connected)
                await self._serve()

    async def _serve(self) -> None:
        """Runs from when the bus is connected until it is lost, or does not take what is held."""
        routing = self._routing
        if not self._failures:
            routing.turn(Route.WAIT)
        try:
            await self._empty()
        except Exception as error:  # noqa: BLE001  # whatever it is, what is held is not left lying
            routing.turn(Route.HOLD)
            await self._pause(error)
            return
        self._failures = 0
        routing.turn(Route.FORWARD if routing.is_connected else Route.HOLD)
        await self._backlog.tidy()
        await routing.wait_until(lambda: not routing.is_connected)

    async def _pause(self, error: Exception) -> None:
        delay = min(DRAIN_RETRY_MAX, DRAIN_RETRY_MIN * 2**self._failures) * random.uniform(0.5, 1)
        self._failures += 1
        self._log.warning(
            "what is held could not be forwarded",
            error=str(error_from_rpc(error) if isinstance(error, aio.AioRpcError) else error),
            held=self._backlog.messages,
            retry_in=round(delay, 3),
            exc_info=not isinstance(error, (aio.AioRpcError, TrunklineError)),
        )
        await asyncio.sleep(delay)

    async def _empty(self) -> None:
        """Sends until nothing is held, which holds until the next turn of the loop."""
        singly = 0
        forwarded = self.forwarded
        while True:
            batches = await self._backlog.next(self._done, 1 if singly else WINDOW_MESSAGES, self._clock())
            self._done = []
            if batches:
                singly = max(0, singly - 1) + await self._send_all(batches)
            elif self._backlog.messages:
                await self._backlog.settled()  # some are on their way to the disk
            else:
                break
        if self.forwarded > forwarded:
            self._log.info("what was held is forwarded", messages=self.forwarded - forwarded)

    async def _send_all(self, batches: Sequence[Sequence[Held]]) -> int:
        """Returns how many messages are in batches that were refused. These go singly: one of each is at fault, and
        which one shows then."""
        outcomes = await asyncio.gather(*map(self._send, batches), return_exceptions=True)
        failed: BaseException | None = None
        singly = 0
        for batch, outcome in zip(batches, outcomes, strict=True):
            if isinstance(outcome, aio.AioRpcError) and outcome.code() is grpc.StatusCode.INVALID_ARGUMENT:
                if len(batch) == 1:
                    await self._refuse(batch[0], error_from_rpc(outcome))
                else:
                    singly += len(batch)
            else:
                failed = failed or outcome
        if failed is not None:
            raise failed
        return singly

    async def _send(self, batch: Sequence[Held]) -> None:
        request = _PublishRequest(
            channel=batch[0].channel,
            messages=[held.message for held in batch],
            durability=bus_pb2.DURABILITY_STORED,
        )
        now = self._clock()
        try:
            answer = await self._forwarder.send(PUBLISH, request.SerializeToString(), DRAIN_TIMEOUT)
        except aio.AioRpcError as status:
            if isinstance(error_from_rpc(status), OverloadedError):
                await self._backlog.unsend(batch)  # the bus answered itself: nothing was stored
            raise
        self._failures = 0
        if self._routing.is_connected:
            self._routing.turn(Route.WAIT)
        self.forwarded += len(batch)
        self._done += batch
        receipts = bus_pb2.PublishResponse.FromString(answer).receipts
        self._note_duplicates(
            [
                held
                for held, receipt in zip(batch, receipts, strict=False)
                if held.sent_at is not None and now - held.sent_at >= DEDUP_SECONDS and not receipt.duplicate
            ]
        )

    def _note_duplicates(self, possible: Sequence[Held]) -> None:
        if possible:
            self.possible_duplicates += len(possible)
            self._log.warning(
                "messages may be stored twice: they were sent before, and the answer never came",
                messages=len(possible),
                message_ids=[_message_id(held) for held in possible[:10]],
            )

    async def _refuse(self, held: Held, error: TrunklineError) -> None:
        message_id = _message_id(held)
        await self._backlog.refuse(held, message_id, error, self._clock())
        self.refused += 1
        self._log.error(
            "the bus refused a message that was held; it is set aside in the backlog's file",
            message_id=message_id,
            channel=held.channel,
            reason=error.error_code,
            error=error.message,
        )


def _message_id(held: Held) -> str:
    return message_pb2.Message.FromString(held.message).message_id
