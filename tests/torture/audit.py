"""Audit: what the ledgers of a torture run prove against the services. A function of facts; it knows no process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from tests.torture.ledger import Delivered, Done, Fact, Found, Receipted, Saved, Sent


class Wrong(StrEnum):
    """What must never be."""

    NEVER_DELIVERED = "receipted and never delivered"
    SILENTLY_TWICE = "delivered to a group twice without saying so"
    OUT_OF_ORDER = "out of order within an ordering key"
    STATE_GONE = "state that was answered and is gone"
    ALTERED = "delivered with other contents than published"
    UNKNOWN = "delivered and never published"


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken promise."""

    wrong: Wrong
    text: str


@dataclass(slots=True)
class Verdict:
    """What a run came to."""

    faults: list[Fault] = field(default_factory=list)
    sent: int = 0
    receipted: int = 0
    duplicates: int = 0
    """Publishes that were tried again, and of which the bus said that it has the message."""
    deliveries: dict[str, int] = field(default_factory=dict)
    """By group."""
    redeliveries: dict[str, int] = field(default_factory=dict)
    saves: int = 0
    records: int = 0

    def count(self, wrong: Wrong) -> int:
        """How many faults of a kind."""
        return sum(fault.wrong is wrong for fault in self.faults)


def audit(facts: Iterable[Fact], groups: Sequence[str]) -> Verdict:
    """Judges a run in which each of these groups was to get every message.

    Args:
        facts: those of one ledger in its order; ledgers in any order.
        groups: the durable subscriptions.
    """
    by_class: dict[type, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_class[type(fact)].append(fact)
    sent = [fact for fact in by_class[Sent] if isinstance(fact, Sent)]
    receipted = [fact for fact in by_class[Receipted] if isinstance(fact, Receipted)]
    saved = [fact for fact in by_class[Saved] if isinstance(fact, Saved)]
    found = [fact for fact in by_class[Found] if isinstance(fact, Found)]
    verdict = Verdict(
        sent=len(sent),
        receipted=len(receipted),
        duplicates=sum(fact.duplicate for fact in receipted),
        saves=len(saved),
        records=len(found),
    )
    for group in groups:
        delivered = [fact for fact in by_class[Delivered] if isinstance(fact, Delivered) and fact.group == group]
        done = [fact for fact in by_class[Done] if isinstance(fact, Done) and fact.group == group]
        delivered.sort(key=lambda fact: fact.at)
        verdict.deliveries[group] = len(delivered)
        verdict.redeliveries[group] = sum(fact.attempt > 1 for fact in delivered)
        verdict.faults += _never_delivered(group, receipted, delivered)
        verdict.faults += _silently_twice(group, delivered)
        verdict.faults += _out_of_order(group, delivered, done)
        verdict.faults += _altered(group, sent, delivered)
    verdict.faults += _state_gone(saved, found)
    return verdict


def _never_delivered(group: str, receipted: Sequence[Receipted], delivered: Sequence[Delivered]) -> Iterator[Fault]:
    got = {fact.message_id for fact in delivered}
    for fact in receipted:
        if fact.message_id not in got:
            yield Fault(Wrong.NEVER_DELIVERED, f"{group} never got {fact.message_id}")


def _silently_twice(group: str, delivered: Sequence[Delivered]) -> Iterator[Fault]:
    """Whoever gets a message that somebody had before is told so by its attempt, and no two have the same one."""
    attempts: dict[str, set[int]] = defaultdict(set)
    for fact in delivered:
        before = attempts[fact.message_id]
        if before and (fact.attempt == 1 or fact.attempt in before):
            known = ", ".join(map(str, sorted(before)))
            yield Fault(
                Wrong.SILENTLY_TWICE,
                f"{group} got {fact.message_id} as attempt {fact.attempt}, after attempts {known}",
            )
        before.add(fact.attempt)


def _out_of_order(group: str, delivered: Sequence[Delivered], done: Sequence[Done]) -> Iterator[Fault]:
    """Of one key, a message comes again and again until it is done, and only then the next one."""
    by_key: dict[str, list[Delivered]] = defaultdict(list)
    for fact in delivered:
        if fact.key is not None:
            by_key[fact.key].append(fact)
    first_done: dict[str, int] = {}
    for end in done:
        first_done[end.message_id] = min(end.at, first_done.get(end.message_id, end.at))
    for key, deliveries in by_key.items():
        for before, after in pairwise(deliveries):
            if after.number < before.number:
                yield Fault(
                    Wrong.OUT_OF_ORDER,
                    f"{group}, key {key}: {after.message_id} (attempt {after.attempt}) came after {before.message_id}",
                )
            elif after.number > before.number and first_done.get(before.message_id, after.at) >= after.at:
                yield Fault(
                    Wrong.OUT_OF_ORDER,
                    f"{group}, key {key}: {after.message_id} came before {before.message_id} was done",
                )


def _altered(group: str, sent: Sequence[Sent], delivered: Sequence[Delivered]) -> Iterator[Fault]:
    known = {fact.message_id for fact in sent}
    for fact in delivered:
        if fact.message_id not in known:
            yield Fault(Wrong.UNKNOWN, f"{group} got {fact.message_id}, which nobody sent")
        elif not fact.intact:
            yield Fault(Wrong.ALTERED, f"{group} got {fact.message_id} with other contents")


def _state_gone(saved: Sequence[Saved], found: Sequence[Found]) -> Iterator[Fault]:
    """The last answered save of a record is there, or a younger one; and no revision was answered twice."""
    at_the_end = {fact.id: fact for fact in found}
    answered: dict[int, Saved] = {}
    for fact in saved:
        other = answered.setdefault(fact.revision, fact)
        if other is not fact:
            yield Fault(
                Wrong.STATE_GONE,
                f"revision {fact.revision} was answered for {other.id} = {other.value} and for {fact.id} = "
                f"{fact.value}",
            )
        now = at_the_end.get(fact.id)
        if now is None:
            yield Fault(Wrong.STATE_GONE, f"{fact.id} = {fact.value} (revision {fact.revision}) is gone")
        elif now.value < fact.value or now.revision < fact.revision:
            yield Fault(
                Wrong.STATE_GONE,
                f"{fact.id} = {fact.value} (revision {fact.revision}) is gone: it is {now.value} (revision "
                f"{now.revision})",
            )
