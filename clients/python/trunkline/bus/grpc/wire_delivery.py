"""WireDelivery: durable delivery, and what a bus says of itself, by the unary calls of a BusService."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator
from typing import Any, Unpack

from google.protobuf.message import Message

from trunkline.bus.checks import check_durable, check_start
from trunkline.bus.dead_letters import (
    DeadLetter,
    DeadLetterFilter,
    Redriven,
    WhichDeadLetters,
    check_ids,
)
from trunkline.bus.durable_codec import (
    changes_to_wire,
    dead_letter_from_wire,
    durable_from_wire,
    filter_to_wire,
    position_to_wire,
    settings_to_wire,
    statistics_from_wire,
    subscription_from_wire,
    waiting_filter_to_wire,
    waiting_from_wire,
)
from trunkline.bus.durable_delivery import DeadLetters, DurableDelivery
from trunkline.bus.inspection import BusStatistics, DurableInfo, SubscriptionInfo
from trunkline.bus.waiting import CancelledMessages, MovedMessages, WaitingFilter, WaitingMessage
from trunkline.channels import check_pattern
from trunkline.delivery import DurableChanges, DurableSettings, Start, check_limit
from trunkline.limits import DEFAULT_PAGE_SIZE, DEFAULT_REQUEST_TIMEOUT, LONG_CALL_TIMEOUT
from trunkline.v1 import bus_pb2, dead_letter_pb2, durable_pb2, waiting_pb2


class WireDelivery(DurableDelivery):
    """See `DurableDelivery`. Each method is one call beside the stream; it has 30 s (where it handles many messages,
    300 s), and raises `BusDisconnectedError` where the connection is lost."""

    @abstractmethod
    async def _call(self, name: str, request: Message, timeout: float = DEFAULT_REQUEST_TIMEOUT) -> Any:
        """The answer to one unary call of the BusService, by its name.

        Raises:
            BusNotConnectedError: the bus is not connected.
            TrunklineError: what the service answered instead.
        """

    @abstractmethod
    def _check_connected(self) -> object:
        """Raises BusNotConnectedError while not connected."""

    async def create_durable(
        self, name: str, pattern: str, *, start: Start = "new", settings: DurableSettings | None = None
    ) -> bool:
        self._check_connected()
        check_durable(name, pattern, start, settings)
        request = durable_pb2.CreateDurableSubscriptionRequest(
            name=name, pattern=pattern, position=position_to_wire(start)
        )
        if settings is not None:
            request.settings.CopyFrom(settings_to_wire(settings))
        return bool((await self._call("CreateDurableSubscription", request)).created)

    async def delete_durable(self, name: str) -> None:
        await self._call("DeleteDurableSubscription", durable_pb2.DeleteDurableSubscriptionRequest(name=name))

    async def seek_durable(self, name: str, start: Start) -> None:
        self._check_connected()
        check_start(start)
        request = durable_pb2.SeekDurableSubscriptionRequest(name=name, position=position_to_wire(start))
        await self._call("SeekDurableSubscription", request)

    async def update_durable(self, name: str, **changes: Unpack[DurableChanges]) -> DurableInfo:
        self._check_connected()
        request = durable_pb2.UpdateDurableSubscriptionRequest(name=name, settings=changes_to_wire(changes))
        return durable_from_wire((await self._call("UpdateDurableSubscription", request)).subscription)

    async def pause_durable(self, name: str) -> DurableInfo:
        request = durable_pb2.PauseDurableSubscriptionRequest(name=name)
        return durable_from_wire((await self._call("PauseDurableSubscription", request)).subscription)

    async def resume_durable(self, name: str) -> DurableInfo:
        request = durable_pb2.ResumeDurableSubscriptionRequest(name=name)
        return durable_from_wire((await self._call("ResumeDurableSubscription", request)).subscription)

    async def durable(self, name: str) -> DurableInfo:
        answer = await self._call("GetDurableSubscription", durable_pb2.GetDurableSubscriptionRequest(name=name))
        return durable_from_wire(answer.subscription)

    async def _waiting_messages(
        self, name: str, wanted: WaitingFilter, limit: int | None, brief: bool
    ) -> AsyncGenerator[WaitingMessage, None]:
        request = waiting_pb2.ListWaitingMessagesRequest(
            durable=name, filter=waiting_filter_to_wire(wanted), brief=brief
        )
        async for each in self._entries("ListWaitingMessages", request, "messages", limit):
            yield waiting_from_wire(each, brief=brief)

    async def cancel_waiting(self, name: str, which: WaitingFilter, *, dry_run: bool = False) -> CancelledMessages:
        self._check_connected()
        request = waiting_pb2.CancelWaitingMessagesRequest(
            durable=name, filter=waiting_filter_to_wire(which.check()), dry_run=dry_run
        )
        answer = await self._call("CancelWaitingMessages", request, LONG_CALL_TIMEOUT)
        return CancelledMessages(answer.cancelled, answer.leased)

    async def move_waiting(self, name: str, which: WaitingFilter, to: str, *, dry_run: bool = False) -> MovedMessages:
        self._check_connected()
        request = waiting_pb2.MoveWaitingMessagesRequest(
            durable=name, filter=waiting_filter_to_wire(which.check()), to_durable=to, dry_run=dry_run
        )
        answer = await self._call("MoveWaitingMessages", request, LONG_CALL_TIMEOUT)
        return MovedMessages(answer.moved, answer.leased, answer.unmatched)

    async def durables(self) -> AsyncGenerator[DurableInfo, None]:
        request = durable_pb2.ListDurableSubscriptionsRequest(page_size=DEFAULT_PAGE_SIZE)
        async for page in self._pages("ListDurableSubscriptions", request):
            for each in page.subscriptions:
                yield durable_from_wire(each)

    async def subscriptions(self, pattern: str | None = None) -> AsyncGenerator[SubscriptionInfo, None]:
        if pattern is not None:
            check_pattern(pattern)
        request = bus_pb2.ListSubscriptionsRequest(pattern=pattern or "", page_size=DEFAULT_PAGE_SIZE)
        async for page in self._pages("ListSubscriptions", request):
            for each in page.subscriptions:
                yield subscription_from_wire(each)

    async def statistics(self) -> BusStatistics:
        return statistics_from_wire(await self._call("GetStats", bus_pb2.GetStatsRequest()))

    async def dead_letter(self, id: int) -> DeadLetter:
        answer = await self._call("GetDeadLetter", dead_letter_pb2.GetDeadLetterRequest(dead_letter_id=id))
        return dead_letter_from_wire(answer.dead_letter)

    async def _count_dead_letters(self, wanted: DeadLetterFilter) -> int:
        request = dead_letter_pb2.ListDeadLettersRequest(filter=filter_to_wire(wanted), page_size=1, brief=True)
        return int((await self._call("ListDeadLetters", request)).total)

    async def _dead_letters(self, wanted: DeadLetterFilter, limit: int | None, brief: bool) -> DeadLetters:
        request = dead_letter_pb2.ListDeadLettersRequest(filter=filter_to_wire(wanted), brief=brief)
        async for letter in self._entries("ListDeadLetters", request, "dead_letters", limit):
            yield dead_letter_from_wire(letter, brief=brief)

    async def redrive(
        self, which: WhichDeadLetters, *, dry_run: bool = False, force: bool = False, limit: int | None = None
    ) -> Redriven:
        self._check_connected()
        request = dead_letter_pb2.RedriveDeadLettersRequest(dry_run=dry_run, force=force, limit=check_limit(limit))
        _choose(request, which)
        answer = await self._call("RedriveDeadLetters", request, LONG_CALL_TIMEOUT)
        return Redriven(
            answer.redriven, answer.guarded, answer.orphaned, answer.remaining, tuple(answer.dead_letter_ids)
        )

    async def purge(self, which: WhichDeadLetters, *, dry_run: bool = False) -> int:
        self._check_connected()
        request = dead_letter_pb2.PurgeDeadLettersRequest(dry_run=dry_run)
        _choose(request, which)
        return int((await self._call("PurgeDeadLetters", request, LONG_CALL_TIMEOUT)).purged)

    async def _entries(self, name: str, request: Any, entries: str, limit: int | None) -> AsyncGenerator[Any, None]:
        """At most so many entries of a call that lists in pages."""
        left = limit
        while True:
            request.page_size = DEFAULT_PAGE_SIZE if left is None else min(left, DEFAULT_PAGE_SIZE)
            page = await self._call(name, request)
            found = getattr(page, entries)
            for each in found:
                yield each
            if left is not None:
                left -= len(found)
            if not page.next_page_token or left == 0:
                return
            request.page_token = page.next_page_token

    async def _pages(self, name: str, request: Any) -> AsyncGenerator[Any, None]:
        """The answers of a call that lists in pages."""
        while True:
            page = await self._call(name, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _choose(request: Any, which: WhichDeadLetters) -> None:
    if isinstance(which, DeadLetterFilter):
        request.filter.CopyFrom(filter_to_wire(which.check()))
    else:
        request.dead_letter_ids.extend(check_ids(which))
