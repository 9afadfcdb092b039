"""Audit: what the ledgers of a torture run prove against the services. A function of facts; it knows no process."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

from tests.torture.endings import ERRORS, HANDLED_LANE, TORN_OFF, Way
from tests.torture.ledger import Buried, Delivered, Done, Fact, Failing, Found, Probed, Receipted, Saved, Sent
from tests.torture.work import lane_of


class Wrong(StrEnum):
    """What must never be."""

    NEVER_DELIVERED = "receipted and never delivered"
    SILENTLY_TWICE = "delivered to a group twice without saying so"
    OUT_OF_ORDER = "out of order within an ordering key"
    STATE_GONE = "state that was answered and is gone"
    ALTERED = "delivered with other contents than published"
    UNKNOWN = "delivered and never published"
    LOST = "lost: neither done nor a dead letter"
    INNOCENT = "innocent dead letters"
    UNTRUE = "dead letters with an untrue reason"
    STANDING_STILL = "subscriptions that stand still"


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
    late: dict[str, int] = field(default_factory=dict)
    """By group: deliveries that were begun after a later attempt was."""
    endings: Counter[str] = field(default_factory=Counter)
    """By way: how handlers ended that did not return."""
    dead_letters: int = 0
    saves: int = 0
    records: int = 0

    def count(self, wrong: Wrong) -> int:
        """How many faults of a kind."""
        return sum(fault.wrong is wrong for fault in self.faults)


def audit(
    facts: Iterable[Fact],
    groups: Sequence[str],
    handled: Sequence[str] = (),
    probed: Iterable[tuple[str, str]] = (),
    *,
    owners_stand_still: bool = False,
) -> Verdict:
    """Judges a run in which each of these groups was to get every message.

    Args:
        facts: those of one ledger in its order; ledgers in any order.
        groups: the durable subscriptions.
        handled: those that get one lane of each publisher, and whose handlers end in every way.
        probed: member and face of each subscription that was to get something after the storm.
        owners_stand_still: what a subscriber has of a replica that stands still it may begin with after another replica
            handed it to somebody else, as if it stood still itself.
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
    for group in (*groups, *handled):
        delivered = [fact for fact in by_class[Delivered] if isinstance(fact, Delivered) and fact.group == group]
        done = [fact for fact in by_class[Done] if isinstance(fact, Done) and fact.group == group]
        delivered.sort(key=lambda fact: fact.at)
        in_turn = [*_in_turn(delivered)]
        verdict.late[group] = len(delivered) - len(in_turn)
        verdict.deliveries[group] = len(delivered)
        verdict.redeliveries[group] = sum(fact.attempt > 1 for fact in delivered)
        if group in groups:
            verdict.faults += _never_delivered(group, receipted, delivered)
        else:
            failing = [fact for fact in by_class[Failing] if isinstance(fact, Failing) and fact.group == group]
            buried = [fact for fact in by_class[Buried] if isinstance(fact, Buried) and fact.group == group]
            verdict.endings.update(fact.way for fact in failing)
            verdict.dead_letters += len(buried)
            verdict.faults += _lost(group, receipted, done, buried)
            verdict.faults += _wrongly_buried(group, failing, buried)
        verdict.faults += _silently_twice(group, delivered, stand_still=owners_stand_still or group in handled)
        verdict.faults += _out_of_order(group, in_turn if owners_stand_still else delivered, done)
        verdict.faults += _altered(group, sent, delivered)
    verdict.faults += _state_gone(saved, found)
    verdict.faults += _standing_still(probed, [fact for fact in by_class[Probed] if isinstance(fact, Probed)])
    return verdict


def _never_delivered(group: str, receipted: Sequence[Receipted], delivered: Sequence[Delivered]) -> Iterator[Fault]:
    got = {fact.message_id for fact in delivered}
    for fact in receipted:
        if fact.message_id not in got:
            yield Fault(Wrong.NEVER_DELIVERED, f"{group} never got {fact.message_id}")


def _in_turn(delivered: Sequence[Delivered]) -> Iterator[Delivered]:
    """Those that came before every later attempt of the same message."""
    last: dict[str, int] = defaultdict(int)
    for fact in delivered:
        if fact.attempt > last[fact.message_id]:
            last[fact.message_id] = fact.attempt
            yield fact


def _silently_twice(group: str, delivered: Sequence[Delivered], *, stand_still: bool) -> Iterator[Fault]:
    """Whoever gets a message that somebody had before is told so by its attempt, and no two have the same one. Where
    subscribers stand still for longer than a lease, one may begin with an attempt after another had the next."""
    attempts: dict[str, set[int]] = defaultdict(set)
    for fact in delivered:
        before = attempts[fact.message_id]
        if fact.attempt in before or (before and fact.attempt == 1 and not stand_still):
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


def _lost(
    group: str, receipted: Sequence[Receipted], done: Sequence[Done], buried: Sequence[Buried]
) -> Iterator[Fault]:
    """What is stored is done once at least, or a dead letter."""
    ended = {fact.message_id for fact in done} | {fact.message_id for fact in buried}
    for fact in receipted:
        if lane_of(fact.message_id) == HANDLED_LANE and fact.message_id not in ended:
            yield Fault(Wrong.LOST, f"{group}: {fact.message_id} was never done and is no dead letter")


def _wrongly_buried(group: str, failing: Sequence[Failing], buried: Sequence[Buried]) -> Iterator[Fault]:
    """Only what fails for ever is a dead letter, whatever its neighbours do; and it tells how each attempt ended."""
    own: dict[str, dict[int, Failing]] = defaultdict(dict)
    for fact in failing:
        own[fact.message_id][fact.attempt] = fact
    for letter in buried:
        failures = own[letter.message_id]
        if not any(fact.for_ever for fact in failures.values()):
            yield Fault(Wrong.INNOCENT, f"{group}: {letter.message_id} failed {len(failures)} times of {letter.errors}")
        was_terminated = any(fact.way == Way.TERMINATED for fact in failures.values())
        if letter.reason not in (("max_deliveries", "terminated") if was_terminated else ("max_deliveries",)):
            yield Fault(Wrong.UNTRUE, f"{group}: {letter.message_id} is {letter.reason}")
        for attempt, error in letter.errors.items():
            known = failures.get(attempt)
            if error not in TORN_OFF and (known is None or error != ERRORS[Way(known.way)]):
                said = "no failure of its own" if known is None else known.way
                yield Fault(Wrong.UNTRUE, f"{group}: {letter.message_id}, attempt {attempt} says {error!r}: {said}")


def _standing_still(expected: Iterable[tuple[str, str]], probed: Sequence[Probed]) -> Iterator[Fault]:
    got = {(fact.member, fact.face) for fact in probed}
    for member, face in expected:
        if (member, face) not in got:
            yield Fault(Wrong.STANDING_STILL, f"{member}: {face}")


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
