"""Long work: parts counted before they are decoded, and time given back."""

from __future__ import annotations

import asyncio
import time

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import InvalidMessageError
from trunkline.limits import MAX_FRAME_ITEMS
from trunkline.v1 import bus_pb2, durable_pb2, state_pb2
from trunklined.rpc.long_work import SLICE_SECONDS, TimeSlice, check_lists, parts_of, pieces_of, split

ITEMS, OPERATIONS = (1,), (1, 6, 1)


@given(sizes=st.lists(st.integers(0, 200), max_size=20), id=st.text(max_size=300))
def test_parts_are_counted_as_the_decoder_finds_them(sizes: list[int], id: str) -> None:
    """Between other fields, and of any length."""
    operation = {"get": {"kind": 1, "id": id.encode("utf-8", "replace").decode()}}
    frame = state_pb2.OpenStateStreamRequest(
        items=[{"id": 2**63, "batch": {"operations": [operation] * size, "atomic": True}} for size in sizes]
    )
    raw = frame.SerializeToString()
    for limit in (0, 1, 10, 10_000):
        if len(raw) > 2 * limit:  # else they cannot be more
            assert parts_of(raw, ITEMS, limit) == min(len(sizes), limit + 1)
        found = parts_of(raw, OPERATIONS, limit)
        assert found <= limit + 1
        large = sum(len(item.batch.operations) for item in frame.items if item.batch.ByteSize() >= 64)
        if len(raw) > 2 * limit:
            assert found >= min(large, limit + 1)


@pytest.mark.parametrize("raw", [b"\x0a\xff\xff\xff\xff\x7f", b"\x0a", b"\xff" * 30, b"\x0b" * 30, b"\x09" * 30])
def test_what_is_malformed_ends_the_count(raw: bytes) -> None:
    """Its decoder refuses it."""
    assert parts_of(raw * 10, ITEMS, 1) <= 2


async def test_a_slice_is_over_after_its_time_and_gives_others_their_turn() -> None:
    """And begins anew then."""
    work = TimeSlice()
    turns: list[int] = []
    assert not work.is_over
    time.sleep(SLICE_SECONDS)  # noqa: ASYNC251  # long work is what this is about
    assert work.is_over
    asyncio.get_running_loop().call_soon(turns.append, 1)
    await work.rest()
    assert turns == [1]
    assert not work.is_over


@given(
    lengths=st.lists(st.sampled_from([0, 1, 50, 200, 1_000]), max_size=40),
    size=st.sampled_from([1, 10, 100, 500, 5_000, 100_000]),
)
def test_pieces_are_frames_that_make_up_the_frame(lengths: list[int], size: int) -> None:
    """In order, none larger than asked for but by one item."""
    frame = state_pb2.OpenStateStreamRequest(items=[{"id": 7, "get": {"id": "x" * length}} for length in lengths])
    raw = frame.SerializeToString()
    pieces = list(pieces_of(raw, size))
    assert b"".join(pieces) == raw
    for piece in pieces:
        items = state_pb2.OpenStateStreamRequest.FromString(piece).items
        assert len(piece) <= size or len(items) == 1


@given(sizes=st.lists(st.integers(0, 300), max_size=30), size=st.sampled_from([1, 50, 1_000]))
def test_pieces_of_a_message_are_it_when_they_are_merged(sizes: list[int], size: int) -> None:
    """Its other fields are in one of them."""
    wanted = bus_pb2.PublishRequest(
        channel="a", messages=[{"json": "x" * size} for size in sizes], durability="DURABILITY_STORED"
    )
    merged = bus_pb2.PublishRequest()
    for piece in pieces_of(wanted.SerializeToString(), size):
        merged.MergeFromString(piece)
    assert merged == wanted


@pytest.mark.parametrize("raw", [b"", b"\x0a", b"\x0a\xff\xff\xff\x7f" * 5, b"\x0b" * 30, b"\xff" * 30])
def test_what_is_malformed_is_left_to_the_decoder(raw: bytes) -> None:
    """Nothing of it is lost."""
    assert b"".join(pieces_of(raw, 4)) == raw


@given(sizes=st.lists(st.integers(0, 300), max_size=30), channel=st.text(max_size=300))
async def test_a_message_is_split_into_its_parts_and_the_rest(sizes: list[int], channel: str) -> None:
    """The parts as they are encoded, in order; the rest is the message without them."""
    channel = channel.encode("utf-8", "replace").decode()
    wanted = bus_pb2.PublishRequest(
        channel=channel, messages=[{"json": "x" * size} for size in sizes], durability="DURABILITY_STORED"
    )
    parts, rest = await split(wanted.SerializeToString(), 2)
    assert [bytes(part) for part in parts] == [message.SerializeToString() for message in wanted.messages]
    del wanted.messages[:]
    assert bus_pb2.PublishRequest.FromString(rest) == wanted


@pytest.mark.parametrize("raw", [b"", b"\x12", b"\x12\xff\xff\xff\x7f" * 5, b"\x12\xff", b"\x0b" * 30, b"\xff" * 30])
async def test_what_cannot_be_split_stays_in_the_rest(raw: bytes) -> None:
    """For its decoder to refuse."""
    parts, rest = await split(b"\x12\x01a" + raw, 2)
    assert [bytes(part) for part in parts] == [b"a"]
    assert rest == raw


def _invalid(field: str, problem: str, value: object) -> InvalidMessageError:
    return InvalidMessageError(f"{field} {problem}", details={"field": field, "value": str(value)})


SETTLE = durable_pb2.SettleRequest


@pytest.mark.parametrize(
    ("kind", "request_", "field"),
    [
        (bus_pb2.OpenStreamRequest, bus_pb2.OpenStreamRequest(items=[{}] * 1_000_000), "items"),
        (bus_pb2.PublishRequest, bus_pb2.PublishRequest(messages=[{}] * 1_000_000), "messages"),
        (
            bus_pb2.OpenStreamRequest,
            bus_pb2.OpenStreamRequest(items=[{"publish": {"messages": [{}] * 1_000_000}}]),
            "items.publish.messages",
        ),
        (SETTLE, SETTLE(nak={"sequences": [1] * 1_000_000}), "nak.sequences"),
        (SETTLE, SETTLE(ack={"sequences": [2**62] * 40_000}), "ack.sequences"),
    ],
)
def test_lists_are_bounded_before_they_are_decoded(kind: type[Message], request_: Message, field: str) -> None:
    """Messages and packed numbers, at any depth, with the path of the list."""
    with pytest.raises(InvalidMessageError) as caught:
        check_lists(request_.SerializeToString(), kind, _invalid)
    assert caught.value.details["field"] == field


def test_numbers_are_counted_packed_or_not() -> None:
    """Both are what decoders take."""
    packed = durable_pb2.Ack(sequences=[1, 300, 2**62]).SerializeToString()
    assert parts_of(packed * 3, (1,), 8, numbers=True) == 9
    assert parts_of(b"\x08\x01" * 9, (1,), 8, numbers=True) == 9
    check_lists(SETTLE(ack={"sequences": [2**62] * MAX_FRAME_ITEMS}).SerializeToString(), SETTLE, _invalid)
