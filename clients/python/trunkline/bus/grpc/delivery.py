"""GrpcDelivery: durable delivery by the unary calls of a BusService."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from trunkline.bus.checks import check_durable, check_start
from trunkline.bus.dead_letters import DeadLetterFilter, Redriven, WhichDeadLetters, check_ids, check_limit
from trunkline.bus.durable import DurableSettings, Start
from trunkline.bus.durable_codec import dead_letter_from_wire, filter_to_wire, position_to_wire, settings_to_wire
from trunkline.bus.durable_delivery import DeadLetters, DurableDelivery
from trunkline.bus.grpc.session import BusSession
from trunkline.errors import BusDisconnectedError
from trunkline.limits import DEFAULT_PAGE_SIZE, DEFAULT_REQUEST_TIMEOUT
from trunkline.v1 import bus_pb2_grpc, dead_letter_pb2, durable_pb2
from trunkline.wire.status import error_from_rpc


class GrpcDelivery(DurableDelivery):
    """See `DurableDelivery`. Each is one call beside the line; it has 30 s, and raises `BusDisconnectedError` where the
    connection is lost."""

    @abstractmethod
    def _connected(self) -> BusSession:
        """What is open. Raises BusNotConnectedError."""

    async def create_durable(
        self, name: str, pattern: str, *, start: Start = "new", settings: DurableSettings | None = None
    ) -> bool:
        session = self._connected()
        check_durable(name, pattern, start, settings)
        request = durable_pb2.CreateDurableSubscriptionRequest(
            name=name, pattern=pattern, position=position_to_wire(start)
        )
        if settings is not None:
            request.settings.CopyFrom(settings_to_wire(settings))
        answer = await _call(session, "CreateDurableSubscription", request)
        return bool(answer.created)

    async def delete_durable(self, name: str) -> None:
        request = durable_pb2.DeleteDurableSubscriptionRequest(name=name)
        await _call(self._connected(), "DeleteDurableSubscription", request)

    async def seek_durable(self, name: str, start: Start) -> None:
        session = self._connected()
        check_start(start)
        request = durable_pb2.SeekDurableSubscriptionRequest(name=name, position=position_to_wire(start))
        await _call(session, "SeekDurableSubscription", request)

    async def _dead_letters(self, wanted: DeadLetterFilter, limit: int | None) -> DeadLetters:
        session = self._connected()
        request = dead_letter_pb2.ListDeadLettersRequest(filter=filter_to_wire(wanted))
        left = limit
        while True:
            request.page_size = DEFAULT_PAGE_SIZE if left is None else min(left, DEFAULT_PAGE_SIZE)
            page = await _call(session, "ListDeadLetters", request)
            for letter in page.dead_letters:
                yield dead_letter_from_wire(letter)
            if left is not None:
                left -= len(page.dead_letters)
            if not page.next_page_token or left == 0:
                return
            request.page_token = page.next_page_token

    async def redrive(
        self, which: WhichDeadLetters, *, dry_run: bool = False, force: bool = False, limit: int | None = None
    ) -> Redriven:
        session = self._connected()
        request = dead_letter_pb2.RedriveDeadLettersRequest(dry_run=dry_run, force=force, limit=check_limit(limit))
        _choose(request, which)
        answer = await _call(session, "RedriveDeadLetters", request)
        return Redriven(
            answer.redriven, answer.guarded, answer.orphaned, answer.remaining, tuple(answer.dead_letter_ids)
        )

    async def purge(self, which: WhichDeadLetters, *, dry_run: bool = False) -> int:
        session = self._connected()
        request = dead_letter_pb2.PurgeDeadLettersRequest(dry_run=dry_run)
        _choose(request, which)
        return int((await _call(session, "PurgeDeadLetters", request)).purged)


def _choose(request: Any, which: WhichDeadLetters) -> None:
    if isinstance(which, DeadLetterFilter):
        request.filter.CopyFrom(filter_to_wire(which.check()))
    else:
        request.dead_letter_ids.extend(check_ids(which))


async def _call(session: BusSession, name: str, request: Message) -> Any:
    """One unary call beside the line."""
    session.check_up()
    stub: Any = bus_pb2_grpc.BusServiceStub(session.line.channel)
    try:
        return await getattr(stub, name)(request, timeout=DEFAULT_REQUEST_TIMEOUT, metadata=session.line.metadata)
    except grpc.aio.AioRpcError as status:
        raise error_from_rpc(status, BusDisconnectedError) from status
