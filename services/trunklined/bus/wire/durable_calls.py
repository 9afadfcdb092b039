"""The unary calls about durable subscriptions and dead letters: for people, for `grpcurl`, and for other languages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from google.protobuf.message import Message

from trunkline.errors import InvalidMessageError
from trunkline.v1 import durable_pb2
from trunklined.admission import parse
from trunklined.bus.broker import Broker
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.journal.commit_waiter import CommitWaiter
from trunklined.bus.journal.journal import Journal
from trunklined.bus.wire.dead_letter_calls import DeadLetterCalls
from trunklined.bus.wire.reporting import report
from trunklined.bus.wire.settling import position_of, settings_of, settle_all
from trunklined.bus.wire.waiting_calls import WaitingCalls
from trunklined.rpc.page_token import fill_page, make_page_token, page_size_of, read_page_token
from trunklined.rpc.times import duration_of, stamp_of

Call = Callable[[bytes, Any], Awaitable[Message]]

_LIST: Final = b"durable subscriptions"
"""The question that its page tokens are for."""


class DurableCalls:
    """The calls of durable.proto, and those of dead_letter.proto and waiting.proto.

    Each takes the encoded request and the call's context, and returns the response. A request that cannot be read is
    refused with InvalidMessageError. What a call changes is on disk when it returns. While the journal cannot write,
    those that change something raise StorageError, or OverloadedError where its disk is full, and change nothing.

    Args:
        broker: whose durable subscriptions and dead letters they are.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._dead_letters = DeadLetterCalls(broker)
        self._waiting = WaitingCalls(broker)

    @property
    def _journal(self) -> Journal:
        return self._broker.journal

    def by_name(self) -> dict[str, Call]:
        """The calls by their names on the wire."""
        return {
            "CreateDurableSubscription": self.create,
            "GetDurableSubscription": self.get,
            "ListDurableSubscriptions": self.list,
            "DeleteDurableSubscription": self.delete,
            "SeekDurableSubscription": self.seek,
            "Settle": self.settle,
            "UpdateDurableSubscription": self.update,
            "PauseDurableSubscription": self.pause,
            "ResumeDurableSubscription": self.resume,
            **self._dead_letters.by_name(),
            **self._waiting.by_name(),
        }

    async def create(self, raw: bytes, _: Any) -> durable_pb2.CreateDurableSubscriptionResponse:
        """Makes a durable subscription, or finds the one of the same name, pattern and settings.

        The response has the subscription, and whether it was made. Unset settings have their defaults; for one that is
        there they count as its own. The position counts only where it is made; unset: what is published from now on.

        Raises:
            InvalidChannelError: the name or the pattern is malformed.
            InvalidMessageError: the position or a setting is out of bounds.
            SubscriptionExistsError: one of that name has another pattern or other settings.
            CompactedError: not everything from the position on is kept.
            OverloadedError: there are too many durable subscriptions.
        """
        request = parse(durable_pb2.CreateDurableSubscriptionRequest, raw)
        settings = settings_of(request.settings)
        position = None
        if request.name not in self._journal.durables:
            position = position_of(request.position, request.pattern, self._journal)
        waiter = CommitWaiter()
        durable, created = self._journal.durables.create(
            request.name,
            request.pattern,
            position,
            settings,
            given=request.HasField("settings"),
            done=waiter.done,
        )
        await waiter.wait()
        return durable_pb2.CreateDurableSubscriptionResponse(subscription=self._to_wire(durable), created=created)

    async def get(self, raw: bytes, _: Any) -> durable_pb2.GetDurableSubscriptionResponse:
        """Returns one durable subscription as it is now.

        Raises:
            SubscriptionNotFoundError: there is none of that name.
        """
        request = parse(durable_pb2.GetDurableSubscriptionRequest, raw)
        return durable_pb2.GetDurableSubscriptionResponse(
            subscription=self._to_wire(self._journal.durables.find(request.name))
        )

    async def list(self, raw: bytes, _: Any) -> durable_pb2.ListDurableSubscriptionsResponse:
        """Returns one page of the durable subscriptions, in order of their names, and the token of the next page.

        The token is empty on the last page. One that is made or deleted meanwhile is listed, or not; no other is missed
        or listed twice.

        Raises:
            InvalidMessageError: a page size below 1, or a page token that was never given.
        """
        request = parse(durable_pb2.ListDurableSubscriptionsRequest, raw)
        page_size = page_size_of(request, InvalidMessageError)
        after = read_page_token(request.page_token, _LIST, InvalidMessageError) or ""
        found = ((each.name, self._to_wire(each)) for each in self._journal.durables if each.name > after)
        response = durable_pb2.ListDurableSubscriptionsResponse()
        last = await fill_page(response.subscriptions, found, page_size)
        if last is not None:
            response.next_page_token = make_page_token(last, _LIST)
        return response

    async def delete(self, raw: bytes, _: Any) -> durable_pb2.DeleteDurableSubscriptionResponse:
        """Deletes a durable subscription with everything that waits for it; its dead letters stay.

        The streams of its subscribers end with SubscriptionNotFoundError.

        Raises:
            SubscriptionNotFoundError: there is none of that name.
        """
        request = parse(durable_pb2.DeleteDurableSubscriptionRequest, raw)
        waiter = CommitWaiter()
        self._journal.durables.delete(request.name, waiter.done)
        await waiter.wait()
        return durable_pb2.DeleteDurableSubscriptionResponse()

    async def seek(self, raw: bytes, _: Any) -> durable_pb2.SeekDurableSubscriptionResponse:
        """Moves a durable subscription to another position, forwards or back, and returns it as it is then.

        What is leased or waits for another attempt is given up: acks for it are refused as stale.

        Raises:
            SubscriptionNotFoundError: there is none of that name.
            InvalidMessageError: no position is set, or it is out of bounds.
            CompactedError: not everything from the position on is kept.
        """
        request = parse(durable_pb2.SeekDurableSubscriptionRequest, raw)
        durable = self._journal.durables.find(request.name)
        if request.position.WhichOneof("position") is None:
            raise InvalidMessageError("position is not set", details={"field": "position"})
        waiter = CommitWaiter()
        position = position_of(request.position, durable.pattern, self._journal)
        self._journal.durables.seek(request.name, position, waiter.done)
        await waiter.wait()
        return durable_pb2.SeekDurableSubscriptionResponse(subscription=self._to_wire(durable))

    async def update(self, raw: bytes, _: Any) -> durable_pb2.UpdateDurableSubscriptionResponse:
        """Changes settings of a durable subscription, those that are set, and returns it as it is then.

        What is handed out from now on goes by the new ones. A limit below what is leased takes nothing away.

        Raises:
            SubscriptionNotFoundError: there is none of that name.
            InvalidMessageError: nothing is set, or a setting is out of bounds.
        """
        request = parse(durable_pb2.UpdateDurableSubscriptionRequest, raw)
        durable = self._journal.durables.find(request.name)
        if not request.settings.ListFields():
            raise InvalidMessageError("settings has nothing that is to be changed", details={"field": "settings"})
        settings = settings_of(request.settings, durable.settings)
        await self._changed(lambda: durable.change(settings))
        return durable_pb2.UpdateDurableSubscriptionResponse(subscription=self._to_wire(durable))

    async def pause(self, raw: bytes, _: Any) -> durable_pb2.PauseDurableSubscriptionResponse:
        """Hands nothing more out of a durable subscription until it is resumed; returns it.

        Raises:
            SubscriptionNotFoundError: there is none of that name.
        """
        durable = self._journal.durables.find(parse(durable_pb2.PauseDurableSubscriptionRequest, raw).name)
        await self._changed(lambda: durable.pause(True))
        return durable_pb2.PauseDurableSubscriptionResponse(subscription=self._to_wire(durable))

    async def resume(self, raw: bytes, _: Any) -> durable_pb2.ResumeDurableSubscriptionResponse:
        """Lets a paused durable subscription go on; returns it. Raises as `pause`."""
        durable = self._journal.durables.find(parse(durable_pb2.ResumeDurableSubscriptionRequest, raw).name)
        await self._changed(lambda: durable.pause(False))
        return durable_pb2.ResumeDurableSubscriptionResponse(subscription=self._to_wire(durable))

    async def _changed(self, change: Callable[[], None]) -> None:
        """Changes something, and waits until that is durable."""
        self._journal.commits.check_health()
        change()
        waiter = CommitWaiter()
        self._journal.after_commit(waiter.done)
        await waiter.wait()

    async def settle(self, raw: bytes, _: Any) -> durable_pb2.SettleResponse:
        """Settles messages of a durable subscription without a stream: all of them, or none.

        Raises:
            SubscriptionNotFoundError: there is none of that name.
            InvalidMessageError: no frame (ack, nak, terminate, extend, release or report), no sequences, or a figure
                out of bounds; or an event that cannot be said.
            StaleAckError: a message is not leased with that attempt, or is named twice.
        """
        request = parse(durable_pb2.SettleRequest, raw)
        durable = self._journal.durables.find(request.durable)
        kind = request.WhichOneof("frame")
        if kind is None:
            raise InvalidMessageError(
                "nothing is said of the messages: ack, nak, terminate, extend, release or report",
                details={"field": "frame"},
            )
        if kind == "report":
            await self._changed(lambda: report(durable, request.report))
        else:
            await self._changed(lambda: settle_all(durable, kind, getattr(request, kind)))
        return durable_pb2.SettleResponse()

    def _to_wire(self, durable: DurableSubscription) -> durable_pb2.DurableSubscription:
        return to_wire(durable, self._broker.peers.own.name)


def to_wire(durable: DurableSubscription, replica: str) -> durable_pb2.DurableSubscription:
    """One as it is now, at a replica of the bus."""
    settings = durable.settings
    return durable_pb2.DurableSubscription(
        name=durable.name,
        pattern=durable.pattern,
        settings=durable_pb2.DurableSettings(
            ack_wait=duration_of(settings.ack_wait),
            max_deliveries=settings.max_deliveries,
            backoff=durable_pb2.Backoff(
                initial=duration_of(settings.backoff.initial),
                multiplier=settings.backoff.multiplier,
                maximum=duration_of(settings.backoff.maximum),
            ),
            max_leased=settings.max_leased,
            rate=settings.rate,
            burst=settings.burst,
            key_concurrency=settings.key_concurrency,
        ),
        paused=durable.paused,
        waiting=max(0, durable.waiting),
        leased=durable.leased,
        retrying=durable.retrying,
        subscribers=len(durable.subscribers),
        acked=durable.acked,
        redelivered=durable.redelivered,
        dead_lettered=durable.dead_lettered,
        next_sequence=durable.next_sequence,
        created_at=stamp_of(durable.created_at),
        replica=replica,
    )
