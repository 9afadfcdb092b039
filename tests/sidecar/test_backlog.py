"""What the sidecar holds: its order, its bounds, and its file."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from trunkline.errors import MessageTooLargeError, OverloadedError, StorageError
from trunklined.relay.journal import MAX_BATCHES, WINDOW_BYTES, Arrival, Held, first_batches
from trunklined.sidecar.offline.backlog import Backlog

NOW = 1_000.0


def arrival(n: int, channel: str = "a", key: str | None = None) -> Arrival:
    return Arrival(channel, key, NOW, b"%d" % n)


def messages(batches: Sequence[Sequence[Held]]) -> list[int]:
    return [int(held.message) for batch in batches for held in batch]


@pytest.fixture
async def backlog(tmp_path: Path) -> AsyncIterator[Backlog]:
    backlog = Backlog(tmp_path / "held.db", 1_000, 10_000)
    await backlog.open()
    yield backlog
    await backlog.close()


async def test_what_is_held_goes_in_order(backlog: Backlog) -> None:
    """Oldest first, in batches; what is done is forgotten."""
    kept = [backlog.keep([arrival(n), arrival(n + 1)], n) for n in range(0, 10, 2)]
    assert await asyncio.gather(*kept) == [0, 2, 4, 6, 8]
    [first] = await backlog.next([], 4, NOW)
    assert messages([first]) == [0, 1, 2, 3]
    [second] = await backlog.next(first, 100, NOW)
    assert messages([second]) == [4, 5, 6, 7, 8, 9]
    assert (backlog.stock.messages, backlog.stock.bytes) == (6, 6)
    assert await backlog.next(second, 100, NOW) == []
    assert (backlog.stock.messages, backlog.stock.bytes) == (0, 0)


async def test_a_batch_that_was_sent_says_since_when(backlog: Backlog) -> None:
    """Until the bus says that it has none of it."""
    await backlog.keep([arrival(1)], None)
    [[first]] = await backlog.next([], 1, NOW)
    [[again]] = await backlog.next([], 1, NOW + 5)
    assert (first.sent_at, again.sent_at) == (None, NOW)
    await backlog.unsend([again])
    [[afresh]] = await backlog.next([], 1, NOW + 9)
    assert afresh.sent_at is None


async def test_what_is_held_survives(backlog: Backlog, tmp_path: Path) -> None:
    """Opened again: the same messages in the same order, also those that were refused, which count to the bounds."""
    await backlog.keep([arrival(n) for n in range(3)], None)
    [[first]] = await backlog.next([], 1, NOW)
    await backlog.refuse(first, "id", MessageTooLargeError("too large"), NOW)
    await backlog.close()
    again = Backlog(tmp_path / "held.db", 4, 10_000)
    await again.open()
    try:
        assert (again.stock.messages, again.stock.bytes, again.stock.refused, again.stock.refused_bytes) == (2, 2, 1, 1)
        with pytest.raises(OverloadedError):
            again.keep([arrival(3), arrival(4)], None)
        await again.keep([arrival(3)], None)
        assert messages(await again.next([], 9, NOW)) == [1, 2, 3]
    finally:
        await again.close()


async def test_the_bounds_hold_for_what_waits_for_the_disk_too(backlog: Backlog) -> None:
    """All of a publish is taken or nothing of it."""
    kept = backlog.keep([arrival(0)] * 999, None)
    with pytest.raises(OverloadedError) as caught:
        backlog.keep([arrival(0)] * 2, None)
    assert caught.value.details == {"limit": "max_stored_messages", "maximum": 1_000, "held": 999}
    with pytest.raises(OverloadedError) as caught:
        backlog.keep([Arrival("a", None, NOW, b"x" * 10_000)], None)
    assert caught.value.details == {"limit": "max_stored_bytes", "maximum": 10_000, "held": 999}
    await kept
    assert backlog.stock.messages == 999


async def test_a_large_message_goes_alone(tmp_path: Path) -> None:
    """A batch is bounded in bytes, but for its last message."""
    backlog = Backlog(tmp_path / "held.db", 1_000, 2**30)
    await backlog.open()
    try:
        await backlog.keep([Arrival("a", None, NOW, b"x" * (2 * WINDOW_BYTES))] * 3, None)
        done: list[Held] = []
        for _ in range(3):
            [done] = await backlog.next(done, 512, NOW)
            assert len(done) == 1
        assert await backlog.next(done, 512, NOW) == []
        await backlog.tidy()
    finally:
        await backlog.close()
    assert (tmp_path / "held.db").stat().st_size < WINDOW_BYTES


@pytest.mark.parametrize(
    ("window", "batches"),
    [
        ("a1 a2 b3 a4", "124 3"),
        ("a1k b2k a3k a4", "1"),
        ("a1k b2l a3k b4k a5", "135 2"),
        ("a1 b2k a3l a4k a5", "13 2"),
        ("b1 a2k b3k c4", "1 2 4"),
        ("a1k b2k c3l b4l c5l", "1 3"),
    ],
)
def test_batches_break_no_order(window: str, batches: str) -> None:
    """A channel's batch ends before an ordering key that goes with another's, or that has stayed behind."""
    held = [Held(n, word[0], word[2:] or None, None, word[1].encode()) for n, word in enumerate(window.split())]
    assert " ".join("".join(map(str, messages([batch]))) for batch in first_batches(held)) == batches


def test_so_many_channels_at_once() -> None:
    """The rest waits for the next round."""
    held = [Held(n, f"c{n % 100}", None, None, b"%d" % n) for n in range(300)]
    batches = first_batches(held)
    assert len(batches) == MAX_BATCHES
    assert messages(batches[:1]) == [0, 100, 200]


async def test_a_lost_end_is_noticed(backlog: Backlog, tmp_path: Path) -> None:
    """The file is cut off behind a commit that was answered: it is refused, not silently shorter."""
    await backlog.keep([arrival(1)], None)
    size = (tmp_path / "held.db-wal").stat().st_size
    await backlog.keep([arrival(2)], None)
    cut = tmp_path / "cut"
    cut.mkdir()
    for name in ("held.db", "held.db-wal", "held.db-tail"):
        shutil.copy(tmp_path / name, cut)
    with (cut / "held.db-wal").open("r+b") as file:
        file.truncate(size)
    shorter = Backlog(cut / "held.db", 1_000, 10_000)
    with pytest.raises(StorageError, match="has lost its end: commit 2 was answered, and it ends at 1"):
        await shorter.open()
    await shorter.close()
    (cut / "held.db-tail").unlink()
    without = Backlog(cut / "held.db", 1_000, 10_000)
    await without.open()
    assert messages(await without.next([], 9, NOW)) == [1]
    await without.close()


async def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    """A file that is no backlog is left as it is."""
    path = tmp_path / "held.db"
    path.write_bytes(b"not a database at all" * 100)
    backlog = Backlog(path, 1, 1)
    with pytest.raises(StorageError):
        await backlog.open()
    await backlog.close()
    assert path.read_bytes().startswith(b"not a database")
