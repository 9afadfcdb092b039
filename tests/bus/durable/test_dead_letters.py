"""Dead letters: what no subscriber could finish is kept with what became of it, announced, and found again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.bus.calls import message, refused, subscribed
from tests.bus.durable.bus import Bus, Gate
from tests.bus.durable.calls import (
    create,
    delete,
    eventually,
    get,
    get_when_dead,
    holding,
    letters,
    seconds,
    settings,
    store,
    store_all,
)
from trunkline.limits import MAX_ERROR_BYTES
from trunkline.v1 import bus_pb2, dead_letter_pb2
from trunkline.v1.dead_letter_pb2 import (
    DEAD_LETTER_REASON_MAX_DELIVERIES,
    DEAD_LETTER_REASON_TERMINATED,
    DeadLetterFilter,
)

INVALID = grpc.StatusCode.INVALID_ARGUMENT
QUICK = settings(ack_wait=60, max_deliveries=2, backoff=(0, 1, 0))


async def bury(stub: Any, name: str, channel: str, *numbers: object, reason: str = "never", **fields: Any) -> None:
    """Stores messages and terminates them."""
    before = (await figures(stub)).dead_letters
    await create(stub, name, channel, settings=QUICK)
    await store_all(stub, channel, numbers, **fields)
    async with holding(stub, name, channel) as holder:
        await holder.say("terminate", await holder.take(len(numbers)), reason=reason)
        await eventually(lambda: figures(stub), lambda now: now.dead_letters == before + len(numbers))


async def figures(stub: Any) -> Any:
    """What the bus says of itself; dead letters count once they are durable."""
    return await stub.GetStats(bus_pb2.GetStatsRequest())


async def listed(stub: Any, **fields: Any) -> Any:
    return await stub.ListDeadLetters(dead_letter_pb2.ListDeadLettersRequest(**fields))


async def test_after_max_deliveries(stub: Any, channel: str) -> None:
    """By naks and by leases that ended: each attempt with its times, its holder and its error."""
    await create(stub, "d", channel, settings=settings(ack_wait=0.2, max_deliveries=3, backoff=(0, 1, 0)))
    before = time.time()
    receipt = (await store(stub, channel, message("a", message_id="m", sender_id="s", message_type="t")))[0]
    async with holding(stub, "d", channel) as holder:
        await holder.say("nak", await holder.take(1), error="first error")
        got = await holder.take(2)
        assert [each.attempt for each in got] == [2, 3]
        await holder.say("nak", got[1:], error="third error")
        found = (await eventually(lambda: letters(stub), len))[0]
    assert (found.durable, found.pattern, found.channel, found.sequence) == ("d", channel, channel, receipt.sequence)
    assert (found.reason, found.error, found.redrives) == (DEAD_LETTER_REASON_MAX_DELIVERIES, "third error", 0)
    assert (found.message.json, found.message.message_id) == ("a", "m")
    assert found.published_at == receipt.time
    attempts = [(each.number, each.error) for each in found.attempts]
    assert attempts == [(1, "first error"), (2, "lease expired"), (3, "third error")]
    times = [before]
    for each in found.attempts:
        times += [each.delivered_at.ToNanoseconds() / 1e9, each.ended_at.ToNanoseconds() / 1e9]
        assert each.peer
    times += [found.dead_at.ToNanoseconds() / 1e9]
    assert times == sorted(times)
    lasted = found.attempts[1].ended_at.ToNanoseconds() - found.attempts[1].delivered_at.ToNanoseconds()
    assert lasted >= 0.2e9
    state = await get_when_dead(stub, "d", 1)
    assert (state.waiting, state.leased, state.retrying, state.dead_lettered) == (0, 0, 0, 1)


async def test_the_last_lease_that_ends(stub: Any, channel: str) -> None:
    """One that nobody ever settles becomes a dead letter, too."""
    await create(stub, "d", channel, settings=settings(ack_wait=0.1, max_deliveries=2))
    await store_all(stub, channel, range(3))
    async with holding(stub, "d", channel) as holder:
        await holder.take(6)
        found = await eventually(lambda: letters(stub), lambda found: len(found) == 3)
    assert [[each.number for each in letter.attempts] for letter in found] == [[1, 2]] * 3
    assert {letter.error for letter in found} == {"lease expired"}


async def test_on_terminate(stub: Any, channel: str) -> None:
    """At once, with the reason; others that came with it go on."""
    await create(stub, "d", channel)
    await store_all(stub, channel, range(3))
    async with holding(stub, "d", channel) as holder:
        got = await holder.take(3)
        await holder.say("terminate", got[1:2], reason="no such customer")
        found = (await eventually(lambda: letters(stub), len))[0]
        assert (found.reason, found.error) == (DEAD_LETTER_REASON_TERMINATED, "no such customer")
        assert [(each.number, each.error) for each in found.attempts] == [(1, "no such customer")]
        await holder.ack([got[0], got[2]])
        await eventually(lambda: get(stub, "d"), lambda found: found.acked == 2)


async def test_it_counts_when_it_can_be_found(socket_dir: Path, channel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For its subscription and for the bus: not while the commit that stores it waits for the disk."""
    gate = Gate().install(monkeypatch)
    async with Bus(socket_dir) as bus:
        await create(bus.stub, "d", channel, settings=QUICK)
        await store_all(bus.stub, channel, range(3))
        async with holding(bus.stub, "d", channel) as holder:
            got = await holder.take(3)
            gate.shut()
            await holder.say("terminate", got, reason="never")
            await gate.reached()
            assert (await get(bus.stub, "d")).dead_lettered == 0
            assert (await figures(bus.stub)).dead_lettered == 0
            gate.open()
            await eventually(lambda: get(bus.stub, "d"), lambda now: now.dead_lettered == 3)
            assert (await figures(bus.stub)).dead_lettered == 3
            assert len(await letters(bus.stub)) == 3
        stub = await bus.restart()
        assert (await get(stub, "d")).dead_lettered == 3


async def test_long_errors_are_cut(stub: Any, channel: str) -> None:
    """4 KiB are kept, and no half characters."""
    await bury(stub, "d", channel, 0, reason="ä" * MAX_ERROR_BYTES)
    found = (await letters(stub))[0]
    assert found.error == "ä" * (MAX_ERROR_BYTES // 2)


async def test_each_is_announced(stub: Any, channel: str) -> None:
    """On conductor:dlq, to live subscribers, with the entry and how many there are."""
    async with subscribed(stub, "conductor:dlq") as live:
        await bury(stub, "d", channel, "a", "b", sender_id="somebody")
        while len(live.delivered) < 2:
            await live.step()
    found = await letters(stub)
    said = [json.loads(each.n) for each in live.delivered]
    assert [each["entry"]["dead_letter_id"] for each in said] == [each.dead_letter_id for each in found]
    assert [each["queue_size"] for each in said] == [1, 2]
    entry = said[0]["entry"]
    assert (entry["durable"], entry["channel"], entry["reason"], entry["error"]) == (
        "d",
        channel,
        "TERMINATED",
        "never",
    )
    assert (entry["sender_id"], entry["message_type"], entry["redrives"]) == ("somebody", "x", 0)
    assert [each["number"] for each in entry["attempts"]] == [1]
    assert {each.priority for each in live.delivered} == {3}


async def test_one_message_may_be_dead_for_several(stub: Any, channel: str) -> None:
    """Each durable subscription has its own; the others keep the message."""
    for name in ("a", "b", "c"):
        await create(stub, name, channel, settings=QUICK)
    await store_all(stub, channel, ["x"])
    for count, name in enumerate(("a", "b"), 1):
        async with holding(stub, name, channel) as holder:
            await holder.say("terminate", await holder.take(1))
            await eventually(lambda: figures(stub), lambda now: now.dead_letters == count)  # noqa: B023
    found = await letters(stub)
    assert [each.durable for each in found] == ["a", "b"]
    assert found[0].dead_letter_id < found[1].dead_letter_id
    assert (await get(stub, "c")).waiting == 1


async def test_filters(stub: Any) -> None:
    """By durable, channel pattern, reason, id, type, sender, text of the error, and time; all set ones must match."""
    await bury(stub, "d", "a:x", "1", reason="disk full", message_id="m1", message_type="t1", sender_id="s1")
    await bury(stub, "e", "a:y", "2", reason="disk 100% full", message_type="t2", sender_id="s1")
    await create(stub, "f", "b:x", settings=settings(max_deliveries=1))
    await store_all(stub, "b:x", ["3"])
    async with holding(stub, "f", "b:x") as holder:
        await holder.say("nak", await holder.take(1), error="disk")
        await eventually(lambda: letters(stub), lambda found: len(found) == 3)
    second = (await letters(stub, durable="e"))[0].dead_at
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["1", "2", "3"]),
        ({"durable": "e"}, ["2"]),
        ({"channel": "a:x"}, ["1"]),
        ({"channel": "a:*"}, ["1", "2"]),
        ({"channel": ">"}, ["1", "2", "3"]),
        ({"channel": "c:>"}, []),
        ({"reason": DEAD_LETTER_REASON_MAX_DELIVERIES}, ["3"]),
        ({"reason": "DEAD_LETTER_REASON_EXPIRED"}, []),
        ({"message_id": "m1"}, ["1"]),
        ({"message_type": "t2"}, ["2"]),
        ({"sender_id": "s1"}, ["1", "2"]),
        ({"error_contains": "full"}, ["1", "2"]),
        ({"error_contains": "0%"}, ["2"]),
        ({"error_contains": "%"}, ["2"]),
        ({"error_contains": "FULL"}, []),
        ({"since": second}, ["2", "3"]),
        ({"before": second}, ["1"]),
        ({"sender_id": "s1", "channel": "a:y", "reason": DEAD_LETTER_REASON_TERMINATED}, ["2"]),
        ({"durable": "none"}, []),
        ({"message_id": "'; DROP TABLE dead_letters; --"}, []),
    ]
    for filter, numbers in cases:
        found = await letters(stub, **filter)
        assert [each.message.json for each in found] == numbers, filter
        assert (await listed(stub, filter=DeadLetterFilter(**filter))).total == len(numbers)


async def test_pages(stub: Any, channel: str) -> None:
    """The newest first; tokens are good for their filter alone, also where letters come and go between pages."""
    await bury(stub, "d", channel, *range(5))
    first = await listed(stub, page_size=2, filter=DeadLetterFilter(durable="d"))
    assert [each.message.json for each in first.dead_letters] == ["4", "3"]
    assert first.total == 5
    await store_all(stub, channel, [5])
    async with holding(stub, "d", channel) as holder:
        await holder.say("terminate", await holder.take(1))
        await eventually(lambda: letters(stub), lambda found: len(found) == 6)
    purge = dead_letter_pb2.PurgeDeadLettersRequest(dead_letter_ids=[first.dead_letters[-1].dead_letter_id])
    await stub.PurgeDeadLetters(purge)
    token, rest = first.next_page_token, []
    while token:
        page = await listed(stub, page_size=2, page_token=token, filter=DeadLetterFilter(durable="d"))
        rest += [each.message.json for each in page.dead_letters]
        token = page.next_page_token
    assert rest == ["2", "1", "0"]
    error = await refused(listed(stub, page_size=2, page_token=first.next_page_token), INVALID, "INVALID_MESSAGE")
    assert error.details["field"] == "page_token"


async def test_a_page_of_large_messages_is_shorter(stub: Any, channel: str) -> None:
    """A page ends before it is too large for one answer; the token goes on behind it."""
    await bury(stub, "d", channel, *("x" * 1_500_000 for _ in range(5)))
    seen, token, pages = 0, "", 0
    while True:
        page = await listed(stub, page_token=token)
        assert page.total == 5
        seen, token, pages = seen + len(page.dead_letters), page.next_page_token, pages + 1
        if not token:
            break
    assert seen == 5
    assert pages > 1


async def test_brief_leaves_payload_and_attempts_out(stub: Any, channel: str) -> None:
    """The rest of the message, and of the letter, stays."""
    await bury(stub, "d", channel, "payload", message_id="m", metadata_json='{"a": 1}')
    (brief,) = (await listed(stub, brief=True)).dead_letters
    assert brief.message.WhichOneof("payload") is None
    assert not brief.attempts
    assert (brief.message.message_id, brief.message.metadata_json, brief.error) == ("m", '{"a": 1}', "never")


async def test_one_is_shown_by_its_id(stub: Any, channel: str) -> None:
    """Whole; an unknown one is not found."""
    await bury(stub, "d", channel, "a", "b")
    expected = (await letters(stub))[1]
    answer = await stub.GetDeadLetter(dead_letter_pb2.GetDeadLetterRequest(dead_letter_id=expected.dead_letter_id))
    assert answer.dead_letter == expected
    for unknown in (0, -1, 99):
        wanted = dead_letter_pb2.GetDeadLetterRequest(dead_letter_id=unknown)
        error = await refused(stub.GetDeadLetter(wanted), grpc.StatusCode.NOT_FOUND, "DEAD_LETTER_NOT_FOUND")
        assert error.details["dead_letter_id"] == unknown


async def test_purged_they_are_gone(stub: Any, channel: str) -> None:
    """By id, by filter, all; a dry run counts and does nothing; more than fit one commit."""
    await bury(stub, "d", channel, *range(600))
    await bury(stub, "e", "other:channel", "x", "y")

    async def purge(*ids: int, **fields: Any) -> int:
        answer = await stub.PurgeDeadLetters(dead_letter_pb2.PurgeDeadLettersRequest(dead_letter_ids=ids, **fields))
        return int(answer.purged)

    first = (await letters(stub, durable="e"))[0]
    assert await purge(first.dead_letter_id, dry_run=True) == 1
    assert await purge(first.dead_letter_id) == 1
    assert [each.message.json for each in await letters(stub, durable="e")] == ["y"]
    error = await refused(purge(first.dead_letter_id), grpc.StatusCode.NOT_FOUND, "DEAD_LETTER_NOT_FOUND")
    assert error.details["dead_letter_id"] == first.dead_letter_id
    everything = DeadLetterFilter(durable="d")
    assert await purge(filter=everything, dry_run=True) == 600
    assert await purge(filter=everything) == 600
    assert await purge(filter=DeadLetterFilter(durable="none")) == 0
    assert (await listed(stub)).total == 1


async def test_they_outlive_their_subscription_and_a_restart(kept: Bus, channel: str) -> None:
    """Deleted subscriptions leave their dead letters; ids go on; over sqlite, which alone keeps anything."""
    await bury(kept.stub, "d", channel, "a", "b")
    before = await letters(kept.stub)
    await delete(kept.stub, "d")
    stub = await kept.restart()
    assert await letters(stub) == before
    await stub.PurgeDeadLetters(dead_letter_pb2.PurgeDeadLettersRequest(filter=DeadLetterFilter()))
    stub = await kept.restart()
    await bury(stub, "d", channel, "c")
    assert (await letters(stub))[0].dead_letter_id == before[-1].dead_letter_id + 1


@pytest.mark.parametrize(
    ("filter", "field"),
    [
        ({"channel": "a::b"}, "pattern"),
        ({"durable": "no name"}, "durable"),
        ({"reason": 99}, "filter.reason"),
        ({"since": seconds(10), "before": seconds(10)}, "filter.before"),
    ],
    ids=["channel", "durable", "reason", "times"],
)
async def test_bad_filters_are_refused(stub: Any, filter: dict[str, Any], field: str) -> None:
    """Bad input: by all calls that take a filter, with the field."""
    wanted = DeadLetterFilter(**filter)
    for call in (
        listed(stub, filter=wanted),
        stub.RedriveDeadLetters(dead_letter_pb2.RedriveDeadLettersRequest(filter=wanted)),
        stub.PurgeDeadLetters(dead_letter_pb2.PurgeDeadLettersRequest(filter=wanted)),
    ):
        reason = "INVALID_CHANNEL" if field in ("pattern", "durable") else "INVALID_MESSAGE"
        error = await refused(call, INVALID, reason)
        assert error.details["field"] == field


async def test_an_attempt_of_before_a_restart_says_who_and_when(kept: Bus, channel: str) -> None:
    """As it was handed out: the peer and the time of then, not the restart's."""
    await create(kept.stub, "d", channel, settings=settings(ack_wait=0.5, max_deliveries=1))
    await store_all(kept.stub, channel, ["held"])
    since = time.time()
    async with holding(kept.stub, "d", channel) as holder:
        await holder.take(1)
        until = time.time()
        listed = await kept.stub.ListSubscriptions(bus_pb2.ListSubscriptionsRequest())
        peer = next(each.peer for each in listed.subscriptions if each.durable == "d")
        assert peer
    stub = await kept.restart()
    letter = (await eventually(lambda: letters(stub), bool))[0]
    full = await stub.GetDeadLetter(dead_letter_pb2.GetDeadLetterRequest(dead_letter_id=letter.dead_letter_id))
    attempt = full.dead_letter.attempts[0]
    assert attempt.peer == peer
    assert since - 0.01 <= attempt.delivered_at.ToNanoseconds() / 1e9 <= until + 0.01
    assert attempt.error == "lease expired"
