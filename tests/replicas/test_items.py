"""What replicas of the version before and the next one send: it is understood, as far as it must be."""

from __future__ import annotations

import asyncio
from typing import Any, get_args

import msgspec
import pytest

from tests.contract.inbox import Inbox
from tests.patience import PATIENCE
from tests.redis import servers
from tests.redis.replicas import Replicas
from tests.replicas.by_hand import taking_part
from trunkline import GrpcMessageBus
from trunklined.bus.replicas import items

DECLARED: list[tuple[items.Item, list[Any]]] = [
    (
        items.Hello("a:1", [items.Entry("news:*", "one", 2, True)], 7, True),
        [1, "a:1", [["news:*", "one", 2, True]], 7, True],
    ),
    (items.Interest(8, [items.Entry("news:*", "", 0, False)]), [2, 8, [["news:*", "", 0, False]]]),
    (items.Known(8), [3, 8]),
    (items.Credit("news:*", "one", 30), [4, "news:*", "one", 30]),
    (
        items.Messages(
            "news:a",
            2,
            [b"first", b"second"],
            1.5,
            40,
            "news:*",
            "one",
            [items.Asked(1, "r", "m", 2.5, 0.5, True, False, True, 3, 10)],
        ),
        [
            *(5, "news:a", 2, [b"first", b"second"], 1.5, 40, "news:*", "one"),
            [[1, "r", "m", 2.5, 0.5, True, False, True, 3, 10]],
        ],
    ),
    (items.Answered("r", [items.Event("part", b"half", "worker", 0.5)]), [6, "r", [["part", b"half", "worker", 0.5]]]),
    (items.Replied("r", "news:a", b"reply"), [7, "r", "news:a", b"reply"]),
    (items.GivenBack("r", True, "worker"), [8, "r", True, "worker"]),
    (items.Refused("r", "OVERLOADED", "too many", {"maximum": 3}), [9, "r", "OVERLOADED", "too many", {"maximum": 3}]),
    (items.CalledOff("r", "asker", "late"), [10, "r", "asker", "late"]),
    (items.PartCredit("r", 4), [11, "r", 4]),
    (items.Alive(), [12]),
    (items.Candidates("news:a", [items.Candidate("c", "m", b"reply")]), [13, "news:a", [["c", "m", b"reply"]]]),
    (items.Cancel(5, "r", "asker", "late"), [14, 5, "r", "asker", "late"]),
    (items.Cancelled(5, True), [15, 5, True]),
    (items.Lagged("news:*", "one", 9), [16, "news:*", "one", 9]),
    (items.Goodbye(), [17]),
    (items.Forgotten("r"), [18, "r"]),
    (items.Question(6, "Stuck", b"asked"), [19, 6, "Stuck", b"asked"]),
    (items.Answer(6, b"part"), [20, 6, b"part"]),
    (items.Flush(7), [23, 7]),
    (items.Flushed(7), [24, 7]),
]
"""Each kind, and what goes over the wire for it. Lines here are added, and never changed or removed: a replica of the
version before sends what they say, and reads no more than that."""


def frame(*encoded: object) -> bytes:
    """A frame of encoded items."""
    return msgspec.msgpack.encode(["newer", encoded])


@pytest.mark.parametrize(("item", "encoded"), DECLARED, ids=[type(item).__name__ for item, _ in DECLARED])
def test_what_was_declared_is_read_and_written(item: items.Item, encoded: list[Any]) -> None:
    """Fields that came since stand behind it."""
    assert items.decode_frame(frame(encoded)) == items.Frame("newer", [item])
    _, [written] = msgspec.msgpack.decode(items.encode_frame(items.Frame("newer", [item])))
    assert written[: len(encoded)] == encoded


def test_each_kind_is_declared() -> None:
    assert {type(item) for item, _ in DECLARED} == set(get_args(items.Item))


def test_what_a_newer_replica_says_besides_is_passed_over() -> None:
    """Kinds, and fields behind those that are known; what is known counts, in order."""
    newer = frame([3, 8, "more"], [99, {"any": [1]}], [98], [19, 6, "Stuck", b"asked", 1.5], [17])
    expected: list[items.Item] = [items.Known(8), items.Question(6, "Stuck", b"asked"), items.Goodbye()]
    assert items.decode_frame(newer) == items.Frame("newer", expected)


@pytest.mark.parametrize(
    "broken", [b"", b"\xc1", frame([3, "eight"]), frame([3]), frame([99], [3, "eight"]), frame(7), frame([])]
)
def test_what_is_no_frame_is_refused(broken: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        items.decode_frame(broken)


async def test_a_newer_replica_takes_part() -> None:
    """It says what no replica of this version knows; what they both know reaches who is here."""
    with servers.running() as redis, Replicas(redis, 1) as made:
        async with GrpcMessageBus(made.addresses[0]) as bus, asyncio.timeout(PATIENCE):
            inbox = Inbox()
            await bus.subscribe("live:news", inbox)
            async with taking_part(redis, "newer") as newer:
                await newer.say([99, "new"], [1, "newer", [], 0, False, "more"])
                heard: list[items.Item] = []
                while not any(isinstance(item, items.Hello) for item in heard):
                    heard += await newer.hear()
                message = newer.message("live:news", 1)
                known = msgspec.msgpack.decode(msgspec.msgpack.encode(message))
                await newer.say([98], [*known, "more"], [99, "new"])
                await inbox.have(1)
                assert inbox.numbers == [1]
