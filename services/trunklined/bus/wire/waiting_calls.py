"""The unary calls about what waits in durable subscriptions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from google.protobuf.message import Message

from trunkline.channels import check_pattern
from trunkline.errors import InvalidMessageError
from trunkline.limits import MAX_SETTLED_MESSAGES
from trunkline.v1 import message_pb2, waiting_pb2
from trunklined.admission import parse
from trunklined.bus.broker import Broker
from trunklined.bus.durable.waiting import Waiting, WaitingQuery
from trunklined.bus.journal.waiting_messages import WaitingMessages
from trunklined.bus.wire.translation import time_in
from trunklined.rpc.long_work import TimeSlice
from trunklined.rpc.page_token import PAGE_BYTES, make_page_token, page_size_of, read_page_token
from trunklined.rpc.times import stamp_of

Call = Callable[[bytes, Any], Awaitable[Message]]

_ENVELOPE_BYTES: Final = 8


class WaitingCalls:
    """See waiting.proto. Each call checks what it is asked, calls the journal, and translates."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    @property
    def _waiting(self) -> WaitingMessages:
        return self._broker.journal.waiting

    def by_name(self) -> dict[str, Call]:
        """The calls by their names on the wire."""
        return {
            "ListWaitingMessages": self.list,
            "CancelWaitingMessages": self.cancel,
            "MoveWaitingMessages": self.move,
        }

    async def list(self, raw: bytes, _: Any) -> waiting_pb2.ListWaitingMessagesResponse:
        """Lists what waits, in pages that end by count, by bytes or by how much was looked at.

        Raises:
            SubscriptionNotFoundError: there is none of that name.
            InvalidChannelError, InvalidMessageError: a filter, a page size or a page token that cannot be.
        """
        wanted = parse(waiting_pb2.ListWaitingMessagesRequest, raw)
        page_size = page_size_of(wanted, InvalidMessageError)
        asked = waiting_pb2.ListWaitingMessagesRequest(durable=wanted.durable, filter=wanted.filter)
        question = b"waiting messages " + asked.SerializeToString(deterministic=True)
        start = int(read_page_token(wanted.page_token, question, InvalidMessageError) or 0)
        found, go_on = await self._waiting.look(wanted.durable, _query(wanted.filter), start, page_size)
        response = waiting_pb2.ListWaitingMessagesResponse()
        room, now, work = PAGE_BYTES, self._broker.clock(), TimeSlice()
        for waiting, offset in ((each, offset) for each in found for offset in range(len(each.batch.messages))):
            if work.is_over:
                await work.rest()
            entry = to_wire(waiting, offset, now, brief=wanted.brief)
            room -= entry.ByteSize() + _ENVELOPE_BYTES
            if response.messages and (len(response.messages) == page_size or room < 0):
                go_on = entry.sequence
                break
            response.messages.append(entry)
        if go_on is not None:
            response.next_page_token = make_page_token(str(go_on), question)
        return response

    async def cancel(self, raw: bytes, _: Any) -> waiting_pb2.CancelWaitingMessagesResponse:
        """Cancels what waits. Raises as `list`; StorageError, OverloadedError: nothing can be written."""
        wanted = parse(waiting_pb2.CancelWaitingMessagesRequest, raw)
        done = await self._waiting.cancel(wanted.durable, _chosen(wanted), dry_run=wanted.dry_run)
        return waiting_pb2.CancelWaitingMessagesResponse(cancelled=done.done, leased=done.leased)

    async def move(self, raw: bytes, _: Any) -> waiting_pb2.MoveWaitingMessagesResponse:
        """Moves what waits to another durable subscription. Raises as `cancel`, also for the other one."""
        wanted = parse(waiting_pb2.MoveWaitingMessagesRequest, raw)
        query = _chosen(wanted)
        done = await self._waiting.move(wanted.durable, query, wanted.to_durable, dry_run=wanted.dry_run)
        return waiting_pb2.MoveWaitingMessagesResponse(moved=done.done, leased=done.leased, unmatched=done.unmatched)


def _chosen(wanted: Any) -> WaitingQuery:
    if not wanted.HasField("filter"):
        raise InvalidMessageError("filter must be set (an empty one means all)", details={"field": "filter"})
    return _query(wanted.filter)


def _query(wanted: waiting_pb2.WaitingFilter) -> WaitingQuery:
    """The query that a filter means.

    Raises:
        InvalidChannelError, InvalidMessageError: a malformed pattern, too many sequences or ids, a sequence below 1, a
            time span that ends before it begins.
    """
    for name in ("sequences", "message_ids"):
        _check_count(name, getattr(wanted, name))
    if wanted.sequences and (lowest := min(wanted.sequences)) < 1:
        raise InvalidMessageError(
            f"filter.sequences has {lowest}, a sequence is at least 1",
            details={"field": "filter.sequences", "value": str(lowest)},
        )
    if wanted.channel:
        check_pattern(wanted.channel)
    since = time_in("filter.since", wanted.since) if wanted.HasField("since") else None
    before = time_in("filter.before", wanted.before) if wanted.HasField("before") else None
    if since is not None and before is not None and before <= since:
        raise InvalidMessageError(
            "filter.before is not after filter.since", details={"field": "filter.before", "value": f"{before:g}"}
        )
    return WaitingQuery(
        sequences=tuple(sorted(set(wanted.sequences))) or None,
        message_ids=frozenset(wanted.message_ids) or None,
        channel=wanted.channel or None,
        message_type=wanted.message_type or None,
        sender_id=wanted.sender_id or None,
        ordering_key=wanted.ordering_key or None,
        since=since,
        before=before,
    )


def _check_count(name: str, entries: Sequence[object]) -> None:
    if len(entries) > MAX_SETTLED_MESSAGES:
        raise InvalidMessageError(
            f"filter.{name} has {len(entries)} entries, at most {MAX_SETTLED_MESSAGES} are allowed",
            details={"field": f"filter.{name}", "value": str(len(entries))},
        )


def to_wire(waiting: Waiting, offset: int, now: float, *, brief: bool) -> waiting_pb2.WaitingMessage:
    """A waiting message as the wire has it; brief: without payload."""
    batch, pending = waiting.batch, waiting.pending
    message = message_pb2.Message.FromString(batch.messages[offset])
    if brief:
        message.ClearField("payload")
    log = pending.log if pending is not None else batch.redriven.log if batch.redriven is not None else ()
    listed = waiting_pb2.WaitingMessage(
        channel=batch.channel,
        sequence=batch.first_sequence + offset,
        published_at=stamp_of(batch.time),
        attempts=waiting.attempts,
        blocked_by_key=waiting.is_blocked,
        error=log[-1].error if log else "",
        message=message,
    )
    if pending is not None and pending.due is not None and pending.due > now:
        listed.due_at.CopyFrom(stamp_of(pending.due))
    return listed
