"""MemoryDeadLetters: the dead letters of a bus in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from trunkline.bus.codec import decode_message, encode_message
from trunkline.bus.dead_letters import (
    DeadLetter,
    DeadLetterFilter,
    DeadLetterReason,
    Redriven,
    WhichDeadLetters,
    check_ids,
    check_limit,
)
from trunkline.bus.memory.durable import MemoryDurable, Stored, Work
from trunkline.channels import matches
from trunkline.errors import DeadLetterNotFoundError, SubscriptionNotFoundError
from trunkline.limits import DEAD_LETTER_CHANNEL, MAX_REDRIVES, MEMORY_DEAD_LETTERS
from trunkline.models import AgentMessage, MessageType, Priority
from trunkline.v1 import message_pb2

log = logging.getLogger(__name__)

_SENDER: Final = "trunkline-bus"


class _Journal(Protocol):
    """Where they come from, and go back to."""

    def allot(self) -> int: ...

    def has(self, name: str) -> bool: ...

    def find(self, name: str) -> MemoryDurable: ...


class MemoryDeadLetters:
    """Keeps dead letters, and announces each as a service does.

    Args:
        journal: where they come from.
        spread: gives a message to those who listen now.
        clock: UNIX time in seconds.
    """

    def __init__(
        self, journal: _Journal, spread: Callable[[str, message_pb2.Message], None], clock: Callable[[], float]
    ) -> None:
        self._journal = journal
        self._spread = spread
        self._clock = clock
        self._letters: dict[int, tuple[DeadLetter, Stored]] = {}
        self._last_id = 0

    def bury(self, durable: MemoryDurable, work: Work, reason: DeadLetterReason, error: str) -> None:
        """Takes up a message that cannot be done, and tells of it."""
        stored = work.stored
        self._last_id += 1
        letter = DeadLetter(
            id=self._last_id,
            durable=durable.name,
            pattern=durable.pattern,
            channel=stored.channel,
            sequence=stored.sequence,
            published_at=_time(stored.time),
            dead_at=_time(self._clock()),
            reason=reason,
            error=error,
            attempts=work.past,
            redrives=work.redrives,
            message=decode_message(stored.message),
        )
        self._letters[letter.id] = letter, stored
        if len(self._letters) > MEMORY_DEAD_LETTERS:
            oldest, _ = self._letters.pop(next(iter(self._letters)))
            log.warning("dead letter %d is forgotten: at most %d are kept", oldest.id, MEMORY_DEAD_LETTERS)
        self._journal.allot()
        self._spread(DEAD_LETTER_CHANNEL, _announcement(letter, len(self._letters)))

    def matching(self, wanted: DeadLetterFilter) -> Iterator[DeadLetter]:
        """Those that match, the newest first."""
        for letter, _ in reversed(list(self._letters.values())):
            if _matches(wanted, letter):
                yield letter

    def redrive(self, which: WhichDeadLetters, dry_run: bool, force: bool, limit: int | None) -> Redriven:
        """See `DurableDelivery.redrive`."""
        most = check_limit(limit)
        by_id = not isinstance(which, DeadLetterFilter)
        candidates = self._chosen(which)
        chosen: list[int] = []
        guarded = orphaned = looked_at = 0
        for letter in candidates:
            if len(chosen) == most:
                break
            looked_at += 1
            if not self._journal.has(letter.durable):
                if by_id:
                    raise SubscriptionNotFoundError(
                        f"dead letter {letter.id} comes from the durable subscription {letter.durable!r}, which was "
                        "deleted",
                        details={"durable": letter.durable},
                    )
                orphaned += 1
            elif letter.redrives >= MAX_REDRIVES and not force:
                guarded += 1
            else:
                chosen.append(letter.id)
        if not dry_run:
            for id in chosen:
                self._give_back(*self._letters.pop(id))
        return Redriven(len(chosen), guarded, orphaned, len(candidates) - looked_at, tuple(chosen))

    def purge(self, which: WhichDeadLetters, dry_run: bool) -> int:
        """See `DurableDelivery.purge`."""
        chosen = self._chosen(which)
        if not dry_run:
            for letter in chosen:
                del self._letters[letter.id]
        return len(chosen)

    def _chosen(self, which: WhichDeadLetters) -> list[DeadLetter]:
        """The oldest first."""
        if isinstance(which, DeadLetterFilter):
            which.check()
            return [letter for letter, _ in self._letters.values() if _matches(which, letter)]
        ids = check_ids(which)
        for id in ids:
            if id not in self._letters:
                raise DeadLetterNotFoundError(f"there is no dead letter {id}", details={"dead_letter_id": id})
        return [self._letters[id][0] for id in sorted(ids)]

    def _give_back(self, letter: DeadLetter, stored: Stored) -> None:
        message = message_pb2.Message()
        message.CopyFrom(stored.message)
        message.ClearField("ttl_seconds")
        anew = stored._replace(sequence=self._journal.allot(), time=self._clock(), message=message, expires_at=None)
        attempts = max((each.number for each in letter.attempts), default=0)
        work = Work(anew, attempts, attempts, letter.attempts, letter.redrives + 1)
        self._journal.find(letter.durable).offer(work)


def _matches(wanted: DeadLetterFilter, letter: DeadLetter) -> bool:
    message = letter.message
    return (
        (wanted.durable is None or wanted.durable == letter.durable)
        and (wanted.channel is None or matches(wanted.channel, letter.channel))
        and (wanted.reason is None or wanted.reason == letter.reason)
        and (wanted.message_id is None or wanted.message_id == message.message_id)
        and (wanted.message_type is None or wanted.message_type == message.message_type)
        and (wanted.sender_id is None or wanted.sender_id == message.sender_id)
        and (wanted.error_contains is None or wanted.error_contains in letter.error)
        and (wanted.since is None or wanted.since <= letter.dead_at)
        and (wanted.before is None or letter.dead_at < wanted.before)
    )


def _announcement(letter: DeadLetter, dead_letters: int) -> message_pb2.Message:
    """The message that tells of a dead letter: what it is, and how many there are."""
    attempts: list[dict[str, Any]] = [
        {**asdict(each), "delivered_at": each.delivered_at.timestamp(), "ended_at": each.ended_at.timestamp()}
        for each in letter.attempts
    ]
    entry = {
        "dead_letter_id": letter.id,
        "durable": letter.durable,
        "pattern": letter.pattern,
        "channel": letter.channel,
        "sequence": letter.sequence,
        "reason": letter.reason.name,
        "error": letter.error,
        "attempts": attempts,
        "redrives": letter.redrives,
        "message_id": letter.message.message_id,
        "message_type": letter.message.message_type,
        "sender_id": letter.message.sender_id,
    }
    message = AgentMessage(
        message_type=MessageType.ERROR,
        sender_id=_SENDER,
        priority=Priority.HIGH,
        payload={"entry": entry, "queue_size": dead_letters},
    )
    return message_pb2.Message.FromString(encode_message(message))


def _time(time: float) -> datetime:
    return datetime.fromtimestamp(time, UTC)
