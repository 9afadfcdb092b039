"""The unary calls about durable subscriptions and dead letters: for people, for `grpcurl`, and for other languages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any, Final

from google.protobuf.message import Message

from trunkline.errors import InvalidMessageError
from trunkline.v1 import durable_pb2
from trunklined.bus.broker import Broker
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.journal.synced import Synced
from trunklined.bus.wire.dead_letter_calls import DeadLetterCalls
from trunklined.bus.wire.settling import position_of, settings_of, settle_all
from trunklined.bus.wire.translation import parse
from trunklined.rpc.page_token import make_page_token, page_size_of, read_page_token
from trunklined.rpc.times import duration_of, stamp_of

Call = Callable[[bytes, Any], Awaitable[Message]]

_LIST: Final = b"durable subscriptions"
"""The question that its page tokens are for."""


class DurableCalls:
    """See durable.proto and dead_letter.proto."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._journal = broker.journal
        self._dead_letters = DeadLetterCalls(broker.journal.letters)

    def by_name(self) -> dict[str, Call]:
        """The calls by their names on the wire."""
        return {
            "CreateDurableSubscription": self.create,
            "GetDurableSubscription": self.get,
            "ListDurableSubscriptions": self.list,
            "DeleteDurableSubscription": self.delete,
            "SeekDurableSubscription": self.seek,
            "Settle": self.settle,
            **self._dead_letters.by_name(),
        }

    async def create(self, raw: bytes, _: Any) -> durable_pb2.CreateDurableSubscriptionResponse:
        wanted = parse(durable_pb2.CreateDurableSubscriptionRequest, raw)
        settings = settings_of(wanted.settings)
        position = None
        if wanted.name not in self._journal.durables:
            position = position_of(wanted.position, wanted.pattern, self._journal)
        synced = Synced()
        durable, created = self._journal.durables.create(
            wanted.name,
            wanted.pattern,
            position,
            settings,
            given=wanted.HasField("settings"),
            done=synced.done,
        )
        await synced.wait()
        return durable_pb2.CreateDurableSubscriptionResponse(subscription=to_wire(durable), created=created)

    async def get(self, raw: bytes, _: Any) -> durable_pb2.GetDurableSubscriptionResponse:
        wanted = parse(durable_pb2.GetDurableSubscriptionRequest, raw)
        return durable_pb2.GetDurableSubscriptionResponse(
            subscription=to_wire(self._journal.durables.find(wanted.name))
        )

    async def list(self, raw: bytes, _: Any) -> durable_pb2.ListDurableSubscriptionsResponse:
        wanted = parse(durable_pb2.ListDurableSubscriptionsRequest, raw)
        page_size = page_size_of(wanted, InvalidMessageError)
        after = read_page_token(wanted.page_token, _LIST, InvalidMessageError) or ""
        found = (each for each in self._journal.durables if each.name > after)
        page = [*islice(found, page_size + 1)]
        response = durable_pb2.ListDurableSubscriptionsResponse(subscriptions=map(to_wire, page[:page_size]))
        if len(page) > page_size:
            response.next_page_token = make_page_token(page[page_size - 1].name, _LIST)
        return response

    async def delete(self, raw: bytes, _: Any) -> durable_pb2.DeleteDurableSubscriptionResponse:
        wanted = parse(durable_pb2.DeleteDurableSubscriptionRequest, raw)
        synced = Synced()
        self._journal.durables.delete(wanted.name, synced.done)
        await synced.wait()
        return durable_pb2.DeleteDurableSubscriptionResponse()

    async def seek(self, raw: bytes, _: Any) -> durable_pb2.SeekDurableSubscriptionResponse:
        wanted = parse(durable_pb2.SeekDurableSubscriptionRequest, raw)
        durable = self._journal.durables.find(wanted.name)
        if wanted.position.WhichOneof("position") is None:
            raise InvalidMessageError("position is not set", details={"field": "position"})
        synced = Synced()
        position = position_of(wanted.position, durable.pattern, self._journal)
        self._journal.durables.seek(wanted.name, position, synced.done)
        await synced.wait()
        return durable_pb2.SeekDurableSubscriptionResponse(subscription=to_wire(durable))

    async def settle(self, raw: bytes, _: Any) -> durable_pb2.SettleResponse:
        wanted = parse(durable_pb2.SettleRequest, raw)
        durable = self._journal.durables.find(wanted.durable)
        kind = wanted.WhichOneof("frame")
        if kind is None:
            raise InvalidMessageError(
                "nothing is said of the messages: ack, nak, terminate, extend or release", details={"field": "frame"}
            )
        self._journal.commits.check_health()
        settle_all(durable, kind, getattr(wanted, kind))
        synced = Synced()
        self._journal.after_commit(synced.done)
        await synced.wait()
        return durable_pb2.SettleResponse()


def to_wire(durable: DurableSubscription) -> durable_pb2.DurableSubscription:
    """One as it is now."""
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
        ),
        waiting=max(0, durable.waiting),
        leased=durable.leased,
        retrying=durable.retrying,
        subscribers=len(durable.subscribers),
        acked=durable.acked,
        redelivered=durable.redelivered,
        dead_lettered=durable.dead_lettered,
        next_sequence=durable.next_sequence,
        created_at=stamp_of(durable.created_at),
    )
