"""What a program keeps is not walked over again and again; what it loses in cycles is found all the same."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from trunklined.rpc import garbage
from trunklined.rpc.garbage import Garbage


class Kept:
    """Something that the collector looks at, and that may refer to itself."""

    itself: Kept | None = None


@pytest.fixture
def started() -> Iterator[Garbage]:
    started = Garbage()
    started.start()
    try:
        yield started
    finally:
        started.close()


def is_looked_at(thing: object) -> bool:
    return any(each is thing for each in gc.get_objects())


def in_a_cycle() -> Kept:
    kept = Kept()
    kept.itself = kept
    return kept


def test_what_a_full_collection_leaves_is_not_looked_at_again(started: Garbage) -> None:
    kept = Kept()
    assert is_looked_at(kept)
    gc.collect()
    assert not is_looked_at(kept)


def test_a_cycle_that_was_not_set_aside_is_collected(started: Garbage) -> None:
    lost = weakref.ref(in_a_cycle())
    gc.collect()
    assert lost() is None


def test_cycles_that_were_set_aside_are_found_when_much_more_is_kept(
    started: Garbage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(garbage, "COUNT_SECONDS", 0.0)
    monkeypatch.setattr(garbage, "MOST_MORE", 10_000)
    kept = in_a_cycle()
    lost = weakref.ref(kept)
    gc.collect()
    del kept
    gc.collect()
    assert lost() is not None, "it was set aside"
    more = [Kept() for _ in range(10_001)]
    gc.collect()  # counts them
    gc.collect()  # looks at all
    assert lost() is None
    assert not is_looked_at(more[0]), "all is set aside again"


def test_everything_is_given_back_at_the_end(started: Garbage) -> None:
    kept = Kept()
    gc.collect()
    started.close()
    assert is_looked_at(kept)
    started.start()
