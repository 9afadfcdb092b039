"""The unary calls about dead letters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message

from trunkline.channels import check_name, check_pattern
from trunkline.delivery import check_limit
from trunkline.errors import InvalidMessageError
from trunkline.limits import MAX_REDRIVEN
from trunkline.v1 import dead_letter_pb2, message_pb2
from trunklined.admission import parse
from trunklined.bus.attempts import Reason
from trunklined.bus.broker import Broker
from trunklined.bus.dead_letters import DeadLetter, DeadLetterQuery
from trunklined.bus.journal.letters import Letters
from trunklined.bus.wire.translation import time_in
from trunklined.rpc.long_work import rest
from trunklined.rpc.page_token import fill_page, make_page_token, page_size_of, read_page_token
from trunklined.rpc.times import stamp_of

Call = Callable[[bytes, Any], Awaitable[Message]]


class DeadLetterCalls:
    """See dead_letter.proto. Each call checks what it is asked, calls the journal's letters, and translates."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    @property
    def _letters(self) -> Letters:
        return self._broker.journal.letters

    def by_name(self) -> dict[str, Call]:
        """The calls by their names on the wire."""
        return {
            "ListDeadLetters": self.list,
            "GetDeadLetter": self.get,
            "RedriveDeadLetters": self.redrive,
            "PurgeDeadLetters": self.purge,
        }

    async def list(self, raw: bytes, _: Any) -> dead_letter_pb2.ListDeadLettersResponse:
        """Lists those that match, the newest first, in pages that end by count or by bytes.

        Raises:
            InvalidChannelError, InvalidMessageError: a filter, a page size or a page token that cannot be.
        """
        wanted = parse(dead_letter_pb2.ListDeadLettersRequest, raw)
        page_size = page_size_of(wanted, InvalidMessageError)
        question = b"dead letters " + wanted.filter.SerializeToString(deterministic=True)
        below = int(read_page_token(wanted.page_token, question, InvalidMessageError) or 0) or None
        query = self._query(wanted.filter)
        response = dead_letter_pb2.ListDeadLettersResponse(total=await self._letters.count(query))
        await rest()
        found = ((str(each.id), to_wire(each, brief=wanted.brief)) for each in self._letters.below(query, below))
        last = await fill_page(response.dead_letters, found, page_size)
        if last is not None:
            response.next_page_token = make_page_token(last, question)
        return response

    async def get(self, raw: bytes, _: Any) -> dead_letter_pb2.GetDeadLetterResponse:
        """Returns one with payload and attempts. Raises DeadLetterNotFoundError."""
        wanted = parse(dead_letter_pb2.GetDeadLetterRequest, raw)
        found = self._letters.find(wanted.dead_letter_id)
        return dead_letter_pb2.GetDeadLetterResponse(dead_letter=to_wire(found, brief=False))

    async def redrive(self, raw: bytes, _: Any) -> dead_letter_pb2.RedriveDeadLettersResponse:
        """Gives dead letters back. Raises as `Letters.redrive`; DeadLetterNotFoundError: an id that is not there."""
        wanted = parse(dead_letter_pb2.RedriveDeadLettersRequest, raw)
        limit = check_limit(wanted.limit if wanted.HasField("limit") else None)
        done = await self._letters.redrive(
            await self._chosen(wanted), limit=limit, force=wanted.force, dry_run=wanted.dry_run
        )
        return dead_letter_pb2.RedriveDeadLettersResponse(
            redriven=len(done.ids),
            guarded=done.guarded,
            orphaned=done.orphaned,
            remaining=done.remaining,
            dead_letter_ids=done.ids,
        )

    async def purge(self, raw: bytes, _: Any) -> dead_letter_pb2.PurgeDeadLettersResponse:
        """Removes dead letters for good. Raises DeadLetterNotFoundError: an id that is not there."""
        wanted = parse(dead_letter_pb2.PurgeDeadLettersRequest, raw)
        purged = await self._letters.purge(await self._chosen(wanted), dry_run=wanted.dry_run)
        return dead_letter_pb2.PurgeDeadLettersResponse(purged=purged)

    async def _chosen(self, wanted: Any) -> DeadLetterQuery:
        ids = tuple(dict.fromkeys(wanted.dead_letter_ids))
        if bool(ids) == wanted.HasField("filter"):
            raise InvalidMessageError(
                "either dead_letter_ids or a filter must be set (an empty filter means all)",
                details={"field": "filter" if ids else "dead_letter_ids"},
            )
        if not ids:
            return self._query(wanted.filter)
        if len(ids) > MAX_REDRIVEN:
            raise InvalidMessageError(
                f"dead_letter_ids has {len(ids)} entries, at most {MAX_REDRIVEN} are allowed",
                details={"field": "dead_letter_ids", "value": str(len(ids))},
            )
        await self._letters.check_ids(ids)
        return DeadLetterQuery(ids=ids)

    def _query(self, wanted: dead_letter_pb2.DeadLetterFilter) -> DeadLetterQuery:
        """The query that a filter means.

        Raises:
            InvalidChannelError, InvalidMessageError: a malformed name or pattern, an unknown reason, a time span that
                ends before it begins.
        """
        if wanted.channel:
            check_pattern(wanted.channel)
        if wanted.durable:
            check_name("durable", wanted.durable)
        if wanted.reason not in (0, *Reason):
            raise InvalidMessageError(
                f"filter.reason {wanted.reason} is unknown",
                details={"field": "filter.reason", "value": str(wanted.reason)},
            )
        since = time_in("filter.since", wanted.since) if wanted.HasField("since") else None
        before = time_in("filter.before", wanted.before) if wanted.HasField("before") else None
        if since is not None and before is not None and before <= since:
            raise InvalidMessageError(
                "filter.before is not after filter.since", details={"field": "filter.before", "value": f"{before:g}"}
            )
        query = DeadLetterQuery(
            durable=wanted.durable or None,
            reason=Reason(wanted.reason) if wanted.reason else None,
            message_id=wanted.message_id or None,
            message_type=wanted.message_type or None,
            sender_id=wanted.sender_id or None,
            error_contains=wanted.error_contains or None,
            since=since,
            before=before,
        )
        return self._letters.on_channels(query, wanted.channel) if wanted.channel else query


def to_wire(letter: DeadLetter, *, brief: bool) -> dead_letter_pb2.DeadLetter:
    """A dead letter as the wire has it; brief: without payload and attempts."""
    message = message_pb2.Message.FromString(letter.message)
    if brief:
        message.ClearField("payload")
    listed = dead_letter_pb2.DeadLetter(
        dead_letter_id=letter.id,
        durable=letter.durable,
        pattern=letter.pattern,
        channel=letter.channel,
        sequence=letter.sequence,
        published_at=stamp_of(letter.published_at),
        dead_at=stamp_of(letter.dead_at),
        reason=dead_letter_pb2.DeadLetterReason.Name(letter.reason),
        error=letter.error,
        redrives=letter.redrives,
        message=message,
    )
    if not brief:
        for attempt in letter.attempts:
            listed.attempts.add(
                number=attempt.number,
                delivered_at=stamp_of(attempt.delivered_at),
                ended_at=stamp_of(attempt.ended_at),
                peer=attempt.peer,
                error=attempt.error,
            )
    return listed
