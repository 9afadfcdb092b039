"""Long work: parts counted before they are decoded, and time given back."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.v1 import state_pb2
from trunklined.rpc.long_work import SLICE_SECONDS, TimeSlice, parts_of

ITEMS, OPERATIONS = (1,), (1, 6, 1)


@given(sizes=st.lists(st.integers(0, 200), max_size=20), id=st.text(max_size=300))
def test_parts_are_counted_as_the_decoder_finds_them(sizes: list[int], id: str) -> None:
    """Between other fields, and of any length."""
    operation = {"get": {"kind": 1, "id": id.encode("utf-8", "replace").decode()}}
    frame = state_pb2.ConnectStateRequest(
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
