"""Lines come out of a stream whole, whatever the reads cut it into."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.message_channel.unix_socket.framing import LineBuffer, LineTooLongError


def everything(buffer: LineBuffer) -> list[bytes | str]:
    """Every line that is whole; "too long" for one that was refused."""
    found: list[bytes | str] = []
    while True:
        try:
            line = buffer.next()
        except LineTooLongError:
            found.append("too long")
            continue
        if line is None:
            return found
        found.append(line)


@given(st.lists(st.binary(max_size=20).filter(lambda b: b"\n" not in b), max_size=20), st.data())
def test_lines_survive_any_cutting(lines: list[bytes], data: st.DataObject) -> None:
    """Two messages in one read, and one message in many reads, both come out as what was sent."""
    stream = b"".join(line + b"\n" for line in lines)
    buffer = LineBuffer(10)
    found: list[bytes | str] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        buffer.feed(stream[:size])
        stream = stream[size:]
        found += everything(buffer)
    assert found == [line if len(line) <= 10 else "too long" for line in lines]


def test_a_line_of_just_the_limit_is_taken() -> None:
    """The limit counts the line without its newline."""
    buffer = LineBuffer(4)
    buffer.feed(b"1234\n12345\n")
    assert everything(buffer) == [b"1234", "too long"]


def test_a_line_over_the_limit_is_refused_once_with_both_sizes_and_holds_no_memory() -> None:
    """What comes of it is dropped as it comes; at its end its size is known, and the next line is taken."""
    buffer = LineBuffer(100)
    for _ in range(1_000):
        buffer.feed(b"x" * 1_000)
        assert buffer.next() is None
        assert len(buffer) == 0
    buffer.feed(b"xx\nnext\n")
    with pytest.raises(LineTooLongError, match=r"may have 100 bytes; this one has 1000002$"):
        buffer.next()
    assert buffer.next() == b"next"


def test_a_line_over_the_limit_can_be_refused_before_its_end() -> None:
    """Where its end does not come: with what came until then; the end is then passed over in silence."""
    buffer = LineBuffer(100)
    buffer.feed(b"x" * 100)
    assert buffer.next() is None
    assert not buffer.is_overlong
    buffer.feed(b"x")
    assert buffer.next() is None
    assert buffer.is_overlong
    assert "this one has 101 and has not ended" in str(buffer.refuse())
    assert not buffer.is_overlong
    buffer.feed(b"x\nnext\n")
    assert everything(buffer) == [b"next"]


def test_the_rest_can_be_looked_at_and_taken() -> None:
    """What has no newline yet is there for a client that sends none."""
    buffer = LineBuffer(100)
    buffer.feed(b"a\nrest")
    assert buffer.next() == b"a"
    assert buffer.next() is None
    assert bytes(buffer.peek()) == b"rest"
    assert buffer.take_rest() == b"rest"
    assert buffer.next() is None
