"""Trace: what happened to a message, and where it is now: from what is remembered of the last events, and from the
journal."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Any, Final

from trunkline.errors import InvalidMessageError, SubscriptionNotFoundError
from trunkline.v1 import inspection_pb2
from trunklined.bus.attempts import LEASE_EXPIRED, AttemptRecord
from trunklined.bus.broker import Broker
from trunklined.bus.dead_letters import DeadLetter, DeadLetterQuery
from trunklined.bus.description import Description
from trunklined.bus.durable.pending import Pending
from trunklined.bus.durable.waiting import Waiting, WaitingQuery
from trunklined.bus.recent import EventKind, Happening
from trunklined.bus.wire.inspection.questions import Questions
from trunklined.bus.wire.message_format import describe
from trunklined.rpc.long_work import TimeSlice
from trunklined.rpc.times import stamp_of, time_of

TRACE: Final = "trace"
MAX_EVENTS: Final = 1_000
MAX_STATES: Final = 1_000
LOOKING_SECONDS: Final = 0.7
"""How long a replica looks through what waits: those that ask it wait a second."""
PAGES_AT_ONCE: Final = 4

_Response = inspection_pb2.TraceResponse


async def trace(questions: Questions, request: inspection_pb2.TraceRequest) -> inspection_pb2.TraceResponse:
    """Puts together what all replicas know.

    Raises:
        InvalidMessageError: no id is given.
    """
    if not (request.message_id or request.correlation_id):
        raise InvalidMessageError("neither message_id nor correlation_id is set", details={"field": "id", "value": ""})
    response = _Response()
    parts = await questions.join(TRACE, request, response)
    response.remembered_since.CopyFrom(stamp_of(max(time_of(each.remembered_since) for each in parts)))
    response.events.sort(key=lambda each: (each.time.ToNanoseconds(), each.kind))
    return response


async def own_part(broker: Broker, raw: bytes) -> bytes:
    """Returns what this replica knows; what is durable where it has the journal."""
    request = inspection_pb2.TraceRequest.FromString(raw)
    search = _Search(broker, request.message_id, request.correlation_id)
    await search.look_at_recent()
    await search.look_at_journal()
    search.look_at_requests()
    return search.response().SerializeToString()


class _Search:
    """What is found of one message, or one correlation id."""

    def __init__(self, broker: Broker, message_id: str, correlation_id: str) -> None:
        self._broker = broker
        self._message_id = message_id
        self._correlation_id = correlation_id
        self._replica = broker.peers.own.name
        self._messages: dict[int, tuple[str, Description]] = {}
        """By sequence: the channel, and what it says of itself."""
        self._events: dict[tuple[Any, ...], Any] = {}
        """By what tells them apart: what is remembered and what the journal has may be the same."""
        self._states: list[Any] = []
        self._is_incomplete = False

    def response(self) -> inspection_pb2.TraceResponse:
        """What was found: the newest."""
        events = sorted(self._events.values(), key=lambda each: each.time.ToNanoseconds())[-MAX_EVENTS:]
        return _Response(
            events=events,
            states=self._states[:MAX_STATES],
            remembered_since=stamp_of(self._broker.recent.since),
            incomplete=self._is_incomplete,
        )

    async def look_at_recent(self) -> None:
        """Finds the messages among the last events, then what happened to them."""
        work = TimeSlice()
        recent = self._broker.recent
        for found in recent.messages_with(self._message_id, self._correlation_id):
            if found is not None:
                sequence, channel, about = found
                self._messages[sequence] = channel, about
            elif work.is_over:
                await work.rest()
        requests = {about.correlation_id for _, about in self._messages.values() if about.correlation_id}
        if self._correlation_id:
            requests.add(self._correlation_id)
        for happening in recent.about(list(self._messages), requests):
            if happening is None:
                if work.is_over:
                    await work.rest()
                continue
            event, sequences = happening
            if event.kind is EventKind.ARRIVED:
                continue
            for sequence in sequences or (0,):
                if event.batch is not None:
                    event = event._replace(by=self._messages[sequence][1].sender_id)
                self._add(sequence, event)

    async def look_at_journal(self) -> None:
        """Finds what is leased, what waits, and dead letters."""
        journal = self._broker.journal
        if not journal.engine.is_owned():
            return
        ids = {about.message_id for _, about in self._messages.values()} | {self._message_id} - {""}
        query = WaitingQuery(message_ids=frozenset(ids)) if ids else WaitingQuery(correlation_id=self._correlation_id)
        until = monotonic() + LOOKING_SECONDS
        for durable in list(journal.durables):
            try:
                async for each, sequences in journal.waiting.leased(durable.name, query):
                    self._add_found(durable.name, each, sequences, "leased")
                at: int | None = 0
                while at is not None and not self._is_incomplete:
                    found, at = await journal.waiting.look(durable.name, query, at, MAX_STATES, PAGES_AT_ONCE)
                    for each in found:
                        sequences = list(range(each.batch.first_sequence, each.batch.end))
                        self._add_found(durable.name, each, sequences, _state_of(each))
                    self._is_incomplete = monotonic() > until and at is not None
            except SubscriptionNotFoundError:  # deleted meanwhile
                continue
        for id in sorted(ids):
            for letter in journal.letters.below(DeadLetterQuery(message_id=id), None):
                self._add_letter(letter)
                if len(self._states) >= MAX_STATES:
                    return

    def look_at_requests(self) -> None:
        """Finds requests that wait for their answers."""
        now = self._broker.clock()
        for request in self._broker.pending_requests():
            if request.correlation_id == self._correlation_id or request.message_id == self._message_id:
                self._states.append(
                    inspection_pb2.TraceState(
                        sequence=request.sequence,
                        message_id=request.message_id,
                        state="pending",
                        holder=", ".join(request.responders),
                        attempt=request.attempts,
                        due_at=stamp_of(now + request.time_left),
                        channel=request.channel,
                        replica=self._replica,
                    )
                )

    def _add_found(self, durable: str, found: Waiting, sequences: Iterable[int], state: str) -> None:
        """Adds how messages of the journal stand, and what it has of their past."""
        batch, pending = found.batch, found.pending
        for sequence in sequences:
            about = describe(batch.messages[sequence - batch.first_sequence])
            self._messages[sequence] = batch.channel, about
            came = EventKind.STORED if batch.redriven is None else EventKind.REDRIVEN
            self._add(sequence, Happening(batch.time, came, (), by=about.sender_id))
            log = pending.log if pending is not None else batch.redriven.log if batch.redriven is not None else ()
            self._add_attempts(durable, sequence, log)
            stated = inspection_pb2.TraceState(
                durable=durable,
                sequence=sequence,
                message_id=about.message_id,
                state=state,
                attempt=found.attempts,
                error=log[-1].error if log else "",
                channel=batch.channel,
                replica=self._replica,
            )
            if pending is not None:
                due = pending.due
                if state == "leased":
                    due = self._lease_end(durable, pending)
                    stated.holder = pending.peer
                    self._add_handed_out(durable, sequence, pending.handed_out_at, pending.peer, pending.attempts)
                if due is not None:
                    stated.due_at.CopyFrom(stamp_of(due))
            self._states.append(stated)

    def _lease_end(self, durable: str, pending: Pending) -> float:
        found = self._broker.journal.durables.find(durable)
        return found.backlog.pending_messages.leases.deadline_of(pending)

    def _add_letter(self, letter: DeadLetter) -> None:
        about = describe(letter.message)
        self._messages[letter.sequence] = letter.channel, about
        stored = Happening(letter.published_at, EventKind.STORED, (), by=about.sender_id)
        self._add(letter.sequence, stored)
        self._add_attempts(letter.durable, letter.sequence, letter.attempts)
        error = f"{letter.reason.name.lower()}: {letter.error}"
        attempt = letter.attempts[-1].number if letter.attempts else 0
        dead = Happening(letter.dead_at, EventKind.DEAD, (), durable=letter.durable, attempt=attempt, error=error)
        self._add(letter.sequence, dead)
        self._states.append(
            inspection_pb2.TraceState(
                durable=letter.durable,
                sequence=letter.sequence,
                message_id=letter.message_id,
                state="dead",
                attempt=attempt,
                error=error,
                dead_letter_id=letter.id,
                channel=letter.channel,
                replica=self._replica,
            )
        )

    def _add_attempts(self, durable: str, sequence: int, log: Iterable[AttemptRecord]) -> None:
        for each in log:
            kind = EventKind.LEASE_ENDED if each.error == LEASE_EXPIRED else EventKind.NAKKED
            self._add_handed_out(durable, sequence, each.delivered_at, each.peer, each.number)
            self._add(sequence, Happening(each.ended_at, kind, (), None, each.peer, durable, each.number, each.error))

    def _add_handed_out(self, durable: str, sequence: int, time: float, peer: str, attempt: int) -> None:
        self._add(sequence, Happening(time, EventKind.HANDED_OUT, (), None, peer, durable, attempt))

    def _add(self, sequence: int, happened: Happening) -> None:
        """Adds what happened to one message, unless that is known. Sequence 0: a request that had none."""
        kind, durable, attempt = happened.kind, happened.durable, happened.attempt
        channel, about = self._messages.get(sequence, ("", Description("", "", "", happened.request_id)))
        once = kind in (EventKind.STORED, EventKind.REDRIVEN, EventKind.DEAD)
        key = kind, sequence, durable, attempt, "" if once or attempt else f"{happened.time} {happened.by}"
        if key in self._events:
            return
        event = inspection_pb2.TraceEvent(
            time=stamp_of(happened.time),
            kind=inspection_pb2.TraceEventKind.Name(kind),
            channel=channel,
            sequence=sequence,
            message_id=about.message_id,
            correlation_id=about.correlation_id,
            by=happened.by,
            durable=durable,
            attempt=attempt,
            error=happened.error,
            replica=self._replica,
        )
        if happened.due_at is not None:
            event.due_at.CopyFrom(stamp_of(happened.due_at))
        self._events[key] = event


def _state_of(found: Waiting) -> str:
    if found.pending is not None:
        return "retrying"
    return "blocked" if found.is_blocked else "waiting"
