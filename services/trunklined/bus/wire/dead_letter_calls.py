"""The unary calls about dead letters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from google.protobuf.message import Message

from trunkline.channels import check_name, check_pattern, matches
from trunkline.errors import DeadLetterNotFoundError, InvalidMessageError, SubscriptionNotFoundError
from trunkline.limits import MAX_FRAME_BYTES, MAX_REDRIVES
from trunkline.v1 import dead_letter_pb2, message_pb2
from trunklined.bus.attempts import Reason
from trunklined.bus.dead_letters import DeadLetter, DeadLetterQuery
from trunklined.bus.journal.journal import Journal
from trunklined.bus.journal.synced import Synced
from trunklined.bus.wire.translation import parse
from trunklined.rpc.page_token import make_page_token, page_size_of, read_page_token
from trunklined.rpc.times import stamp_of, time_of

DEFAULT_REDRIVEN: Final = 1_000
MAX_REDRIVEN: Final = 10_000
PAGE_BYTES: Final = MAX_FRAME_BYTES // 16
"""A page ends with the dead letter that reaches it."""
CHUNK: Final = 256

Call = Callable[[bytes, Any], Awaitable[Message]]


class DeadLetterCalls:
    """See dead_letter.proto."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def by_name(self) -> dict[str, Call]:
        """The calls by their names on the wire."""
        return {
            "ListDeadLetters": self.list,
            "GetDeadLetter": self.get,
            "RedriveDeadLetters": self.redrive,
            "PurgeDeadLetters": self.purge,
        }

    async def list(self, raw: bytes, _: Any) -> dead_letter_pb2.ListDeadLettersResponse:
        wanted = parse(dead_letter_pb2.ListDeadLettersRequest, raw)
        page_size = page_size_of(wanted, InvalidMessageError)
        question = b"dead letters " + wanted.filter.SerializeToString(deterministic=True)
        below = int(read_page_token(wanted.page_token, question, InvalidMessageError) or 0) or None
        query = self._query(wanted.filter)
        engine = self._journal.engine
        response = dead_letter_pb2.ListDeadLettersResponse(total=engine.count_dead_letters(query))
        size = 0
        while len(response.dead_letters) < page_size and size < PAGE_BYTES:
            rows = min(CHUNK, page_size - len(response.dead_letters))
            letters = engine.dead_letters(query, below, rows, True)
            for letter in letters:
                response.dead_letters.append(to_wire(letter, brief=wanted.brief))
                below = letter.id
                size += len(letter.message)
                if size >= PAGE_BYTES:
                    break
            if len(letters) < rows:
                break
        if response.dead_letters and engine.dead_letters(query, below, 1, True):
            response.next_page_token = make_page_token(str(response.dead_letters[-1].dead_letter_id), question)
        return response

    async def get(self, raw: bytes, _: Any) -> dead_letter_pb2.GetDeadLetterResponse:
        wanted = parse(dead_letter_pb2.GetDeadLetterRequest, raw)
        found = self._journal.engine.dead_letters(DeadLetterQuery(ids=(wanted.dead_letter_id,)), None, 1, True)
        if not found:
            raise _unknown(wanted.dead_letter_id)
        return dead_letter_pb2.GetDeadLetterResponse(dead_letter=to_wire(found[0], brief=False))

    async def redrive(self, raw: bytes, _: Any) -> dead_letter_pb2.RedriveDeadLettersResponse:
        wanted = parse(dead_letter_pb2.RedriveDeadLettersRequest, raw)
        limit = wanted.limit if wanted.HasField("limit") else DEFAULT_REDRIVEN
        if not 1 <= limit <= MAX_REDRIVEN:
            raise InvalidMessageError(
                f"limit is {limit}, it must be 1 to {MAX_REDRIVEN}", details={"field": "limit", "value": str(limit)}
            )
        query = self._chosen(wanted)
        response = dead_letter_pb2.RedriveDeadLettersResponse()
        total = self._journal.engine.count_dead_letters(query)
        chosen: list[DeadLetter] = []
        looked_at, above = 0, 0
        while len(chosen) < limit:
            letters = self._journal.engine.dead_letters(query, above, CHUNK, False)
            if not letters:
                break
            for letter in letters:
                if len(chosen) == limit:
                    break
                above = letter.id
                looked_at += 1
                if letter.id in self._journal.leaving:
                    continue
                if self._is_orphan(letter):
                    if wanted.dead_letter_ids:
                        raise SubscriptionNotFoundError(
                            f"dead letter {letter.id} comes from the durable subscription {letter.durable!r} with the "
                            f"pattern {letter.pattern!r}, which was deleted",
                            details={"durable": letter.durable},
                        )
                    response.orphaned += 1
                elif letter.redrives >= MAX_REDRIVES and not wanted.force:
                    response.guarded += 1
                else:
                    chosen.append(letter)
        response.redriven = len(chosen)
        response.remaining = total - looked_at
        response.dead_letter_ids.extend(letter.id for letter in chosen)
        if chosen and not wanted.dry_run:
            synced = Synced()
            self._journal.commits.check_health()
            self._journal.redrive([(letter, _without_ttl(letter.message)) for letter in chosen], synced.done)
            await synced.wait()
        return response

    async def purge(self, raw: bytes, _: Any) -> dead_letter_pb2.PurgeDeadLettersResponse:
        wanted = parse(dead_letter_pb2.PurgeDeadLettersRequest, raw)
        query = self._chosen(wanted)
        response = dead_letter_pb2.PurgeDeadLettersResponse()
        if wanted.dry_run:
            response.purged = self._journal.engine.count_dead_letters(query)
            return response
        above = 0
        while letters := self._journal.engine.dead_letters(query, above, CHUNK, False):
            self._journal.commits.check_health()
            above = letters[-1].id
            ids = [letter.id for letter in letters if letter.id not in self._journal.leaving]
            synced = Synced()
            self._journal.purge(ids, synced.done)
            await synced.wait()
            response.purged += len(ids)
        return response

    def _is_orphan(self, letter: DeadLetter) -> bool:
        """Whether the subscription that it comes from is no more, or another has its name."""
        durables = self._journal.durables
        return letter.durable not in durables or durables.find(letter.durable).pattern != letter.pattern

    def _chosen(self, wanted: Any) -> DeadLetterQuery:
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
        query = DeadLetterQuery(ids=ids)
        leaving = next((id for id in ids if id in self._journal.leaving), None)
        if leaving is not None:  # as good as gone
            raise _unknown(leaving)
        if self._journal.engine.count_dead_letters(query) < len(ids):
            found: set[int] = set()
            above = 0
            while letters := self._journal.engine.dead_letters(query, above, CHUNK, False):
                found.update(letter.id for letter in letters)
                above = letters[-1].id
            raise _unknown(next(id for id in ids if id not in found))
        return query

    def _query(self, wanted: dead_letter_pb2.DeadLetterFilter) -> DeadLetterQuery:
        """The query that a filter means.

        Raises:
            InvalidChannelError, InvalidMessageError: a malformed name or pattern, an unknown reason, a time span that
                ends before it begins.
        """
        channels = None
        if wanted.channel:
            check_pattern(wanted.channel)
            known = self._journal.engine.dead_letter_channels()
            channels = frozenset(name for name in known if matches(wanted.channel, name))
        if wanted.durable:
            check_name("durable", wanted.durable)
        if wanted.reason not in (0, *Reason):
            raise InvalidMessageError(
                f"filter.reason {wanted.reason} is unknown",
                details={"field": "filter.reason", "value": str(wanted.reason)},
            )
        since = time_of(wanted.since) if wanted.HasField("since") else None
        before = time_of(wanted.before) if wanted.HasField("before") else None
        if since is not None and before is not None and before <= since:
            raise InvalidMessageError(
                "filter.before is not after filter.since", details={"field": "filter.before", "value": f"{before:g}"}
            )
        return DeadLetterQuery(
            durable=wanted.durable or None,
            channels=channels,
            reason=Reason(wanted.reason) if wanted.reason else None,
            message_id=wanted.message_id or None,
            message_type=wanted.message_type or None,
            sender_id=wanted.sender_id or None,
            error_contains=wanted.error_contains or None,
            since=since,
            before=before,
        )


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


def _without_ttl(encoded: bytes) -> bytes:
    """A message that somebody wants delivered after all does not expire again."""
    message = message_pb2.Message.FromString(encoded)
    if not message.HasField("ttl_seconds"):
        return encoded
    message.ClearField("ttl_seconds")
    return message.SerializeToString()


def _unknown(id: int) -> DeadLetterNotFoundError:
    return DeadLetterNotFoundError(f"there is no dead letter {id}", details={"dead_letter_id": id})
