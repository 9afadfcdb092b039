"""Explain: who would get a message that is published on a channel now, who would not, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from trunkline.channels import check_channel, matches
from trunkline.v1 import inspection_pb2
from trunklined.access.gate import current_gate
from trunklined.access.rights import Need
from trunklined.bus.broker import Broker, Subscription
from trunklined.bus.durable.subscription import DurableSubscription
from trunklined.bus.queue import SubscriptionQueue
from trunklined.bus.wire.durable_calls import to_wire as durable_to_wire
from trunklined.bus.wire.inspection.lists import to_wire
from trunklined.bus.wire.inspection.questions import Questions
from trunklined.bus.wire.translation import check_between
from trunklined.rpc.long_work import TimeSlice

EXPLAIN: Final = "explain"
MAX_RECIPIENTS: Final = 1_000
OTHERS: Final = 10
MAX_OTHERS: Final = 100
_RIGHTS: Final = ("publish", "request")

_Verdict = inspection_pb2.Verdict


async def explain(
    broker: Broker, questions: Questions, stored_patterns: Sequence[str], request: inspection_pb2.ExplainRequest
) -> inspection_pb2.ExplainResponse:
    """Puts together what all replicas say.

    Raises:
        InvalidChannelError: the channel is malformed.
        InvalidMessageError: `max_others` is out of bounds.
    """
    check_channel(request.channel)
    most = request.max_others if request.HasField("max_others") else OTHERS
    check_between("max_others", most, 0, MAX_OTHERS, "")
    response = inspection_pb2.ExplainResponse(permissions=_permissions(request.channel, request.identity))
    response.stored_by = next((each for each in stored_patterns if matches(each, request.channel)), "")
    await questions.join(EXPLAIN, request, response)
    closest = sorted(response.others, key=lambda each: _distance(each.subscription.pattern, request.channel))[:most]
    del response.others[:]
    response.others.extend(closest)
    if not response.stored_by:
        for keeper in response.keepers:
            keeper.why = f"where its publisher asks for it to be stored: no rule does; {keeper.why}"
            keeper.verdict = _Verdict.VERDICT_IF_STORED
    return response


async def own_part(broker: Broker, raw: bytes) -> bytes:
    """Returns what this replica alone knows: its own subscribers, and what is durable where it has the journal."""
    request = inspection_pb2.ExplainRequest.FromString(raw)
    channel, replica = request.channel, broker.peers.own.name
    response = inspection_pb2.ExplainResponse()
    closest: list[Subscription] = []
    work = TimeSlice()
    for each in broker.subscriptions():
        if work.is_over:
            await work.rest()
        if not isinstance(each.queue, SubscriptionQueue):
            continue
        if matches(each.queue.pattern, channel):
            response.answered = response.answered or each.subscriber.can_answer
            if len(response.recipients) < MAX_RECIPIENTS:
                verdict, why = _of_live(each)
                response.recipients.add(subscription=to_wire(each, replica), verdict=verdict, why=why)
        else:
            closest.append(each)
            if len(closest) == 2 * MAX_OTHERS:
                closest = _closest(closest, channel)
    for each in _closest(closest, channel):
        why = _difference(each.queue.pattern, channel)
        verdict = _Verdict.VERDICT_OTHER_PATTERN
        response.others.add(subscription=to_wire(each, replica), verdict=verdict, why=why)
    for durable in broker.journal.durables if broker.journal.engine.is_owned() else ():
        if matches(durable.pattern, channel):
            verdict, why = of_durable(durable)
            response.keepers.add(subscription=durable_to_wire(durable, replica), verdict=verdict, why=why)
    return response.SerializeToString()


def _of_live(subscription: Subscription) -> tuple[Any, str]:
    """Says what a subscription whose pattern matches would do with a message."""
    subscriber, queue = subscription.subscriber, subscription.queue
    role = "it only looks on, and answers no request" if subscriber.observer else ""
    if subscriber.credit == 0:
        waits = f"it has no credit left; {queue.count} messages wait for it already"
        return _Verdict.VERDICT_WAITS, f"{waits}; {role}" if role else waits
    if queue.group:
        members = len(queue.subscribers)
        return _Verdict.VERDICT_SHARES, f"one of {members} members of the group here, or one elsewhere, gets it"
    return _Verdict.VERDICT_GETS, role


def of_durable(durable: DurableSubscription) -> tuple[Any, str]:
    """Says what a durable subscription does with what it keeps, and why it hands nothing out."""
    if durable.paused:
        return _Verdict.VERDICT_WAITS, "it is paused: it hands nothing out until it is resumed"
    if not durable.subscribers:
        return _Verdict.VERDICT_WAITS, "nobody is connected who takes from it"
    most = durable.settings.max_leased
    if most and durable.leased >= most:
        return _Verdict.VERDICT_WAITS, f"{durable.leased} messages are leased, no more may be (max_leased)"
    if not any(subscriber.appetite > 0 for subscriber in durable.subscribers):
        held = sum(subscriber.leased for subscriber in durable.subscribers)
        return _Verdict.VERDICT_WAITS, f"none of its {len(durable.subscribers)} subscribers has room: they hold {held}"
    if len(durable.subscribers) > 1:
        return _Verdict.VERDICT_SHARES, f"one of its {len(durable.subscribers)} subscribers gets it"
    return _Verdict.VERDICT_GETS, ""


class _Distance(NamedTuple):
    """How far a pattern is from a channel: by its tokens from the left, and by their number."""

    differing: int
    longer: int


def _distance(pattern: str, channel: str) -> _Distance:
    tokens, wanted = pattern.split(":"), channel.split(":")
    same = 0
    for ours, theirs in zip(tokens, wanted, strict=False):
        if ours not in ("*", ">", theirs):
            break
        same += 1
    return _Distance(len(wanted) - same, abs(len(tokens) - len(wanted)))


def _closest(subscriptions: list[Subscription], channel: str) -> list[Subscription]:
    """The subscriptions whose patterns come closest."""
    return sorted(subscriptions, key=lambda each: _distance(each.queue.pattern, channel))[:MAX_OTHERS]


def _difference(pattern: str, channel: str) -> str:
    """Says in words where a pattern and a channel part."""
    tokens, wanted = pattern.split(":"), channel.split(":")
    for number, (ours, theirs) in enumerate(zip(tokens, wanted, strict=False), 1):
        if ours not in ("*", ">", theirs):
            return f"token {number} of its pattern is {ours!r}, of the channel {theirs!r}"
    if len(tokens) > len(wanted):
        return f"its pattern needs {len(tokens)} tokens or more, the channel has {len(wanted)}"
    return f"its pattern has {len(tokens)} tokens, the channel {len(wanted)}"


def _permissions(channel: str, identity: str) -> list[inspection_pb2.ExplainResponse.Permission]:
    """What whoever would publish may do there; nothing where there is no file that says so."""
    gate = current_gate()
    if gate is None:
        return []
    name, found = identity or gate.identity.name, []
    for right in _RIGHTS:
        line = gate.line_for(Need(right, channel), identity)
        if line is not None:
            found.append(
                inspection_pb2.ExplainResponse.Permission(identity=name, right=right, allowed=line > 0, line=line)
            )
    return found
