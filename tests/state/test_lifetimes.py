"""Records that end by themselves, and leases, in the domain: over each engine, and by a clock that the test sets."""

from __future__ import annotations

import asyncio

import pytest

from tests.patience import PATIENCE
from tests.state.conftest import MakeEngine, make_store
from tests.state.samples import AGENT, TASK, drop, put
from trunkline.errors import LeaseHeldError, LeaseLostError, StateError
from trunkline.records import RecordKind
from trunklined.state.engines.engine import Engine
from trunklined.state.records import (
    Change,
    End,
    Facets,
    Head,
    Hold,
    Operation,
    Reason,
    RecordKey,
    Result,
    Term,
    Touch,
)
from trunklined.state.store import Store
from trunklined.state.terms import Terms

LEASE = RecordKind.LEASE


async def do(engine: Engine, *operations: Operation) -> list[Result | type[StateError]]:
    """Each as a transaction of its own, all in one commit."""
    commit = await engine.write([[operation] for operation in operations])
    return [outcome[0] if isinstance(outcome, list) else type(outcome) for outcome in commit.outcomes]


def bound(id: str, number: int, name: str = "l") -> Operation:
    return put(id)._replace(lease=Hold(name, number))


def lease(name: str = "l") -> Operation:
    return put(name, kind=LEASE, expected=0)._replace(facets=Facets(agent_id="me"), ttl_ms=60_000)


async def test_a_record_that_was_bound_in_the_same_commit_ends_with_the_lease(engine: Engine) -> None:
    """And one that was unbound in it does not; the order within a commit is the order of arrival."""
    results = await do(
        engine, lease(), bound("a", 1), bound("b", 1), put("b"), drop("l", kind=LEASE, expected=1), bound("c", 1)
    )
    assert results == [1, 2, 3, 4, 5, LeaseLostError]
    assert await engine.read(AGENT, "a") is None
    assert await engine.read(AGENT, "b") is not None
    [end] = [change for change in await engine.changes(5, 10) if change.body is None]
    assert (end.id, end.reason) == ("a", Reason.LEASE_ENDED)
    assert engine.holdings.records[AGENT] == 1


async def test_what_is_bound_is_stored(engine: Engine) -> None:
    """Whoever opens the engine knows what ends by itself."""
    await do(engine, lease(), bound("a", 1), put("t", kind=TASK)._replace(ttl_ms=5_000), put("stays"))
    found = dict(await engine.terms())
    assert set(found) == {(LEASE, "l"), (AGENT, "a"), (TASK, "t")}
    assert found[AGENT, "a"].term == Term(lease=1)
    assert found[LEASE, "l"].term.ttl_ms == 60_000
    assert found[TASK, "t"].term.expires_at_ms > 0


async def test_an_end_comes_in_its_turn(engine: Engine) -> None:
    """A touch before it in the same commit holds it off, as a save does; after it there is no record."""
    await do(engine, *(put(id)._replace(ttl_ms=1) for id in ("touched", "saved", "ends")))
    await asyncio.sleep(0.01)
    end = [End(AGENT, id, n, lambda: True) for n, id in enumerate(("touched", "saved", "ends"), 1)]
    results = await do(
        engine, Touch(AGENT, "touched"), end[0], put("saved"), end[1], end[2], Touch(AGENT, "ends"), put("ends")
    )
    assert results == [1, 0, 4, 0, 5, 0, 6]


async def test_an_end_that_is_not_due_any_more_does_nothing(engine: Engine) -> None:
    """It is asked in its turn."""
    await do(engine, put("a")._replace(ttl_ms=100))
    assert await do(engine, End(AGENT, "a", 1, lambda: False)) == [0]


async def test_a_touch_in_a_transaction_that_fails_touched_nothing(engine: Engine) -> None:
    """All or nothing, also for lifetimes."""
    await do(engine, put("a")._replace(ttl_ms=100))
    [(key, before)] = await engine.terms()
    commit = await engine.write([[Touch(AGENT, "a", 9_000_000), put("b", expected=7)]])
    assert isinstance(commit.outcomes[0], StateError)
    [(same, after)] = await engine.terms()
    assert (same, after.revision, after.term.ttl_ms) == (key, before.revision, 100)
    # Redis's clock and ours are two.
    assert after.term.expires_at_ms - before.term.expires_at_ms < 1_000_000


async def test_a_cancelled_caller_gives_back_what_it_had_taken(store: Store) -> None:
    """Also where its save was on its way to the disk already."""
    taking = asyncio.ensure_future(store.leases.acquire("l", "gone", b"x", 60_000, 0))
    await asyncio.sleep(0)
    taking.cancel()
    async with asyncio.timeout(PATIENCE):
        assert await store.leases.acquire("l", "next", b"x", 60_000, PATIENCE) > 0
    with pytest.raises(LeaseHeldError, match="'next'"):
        await store.leases.acquire("l", "third", b"x", 60_000, 0)


async def test_a_waiter_is_ended_by_the_end_of_the_store(make_engine: MakeEngine) -> None:
    """It does not hold the drain up."""
    store = make_store(make_engine())
    await store.open()
    await store.leases.acquire("l", "", b"x", 60_000, 0)
    waiting = asyncio.ensure_future(store.leases.acquire("l", "", b"x", 60_000, 600))
    while not store.leases.waiting:  # noqa: ASYNC110  # it comes to pass within a few turns of the loop
        await asyncio.sleep(0)
    await store.drain(PATIENCE)
    with pytest.raises(StateError, match="shutting down"):
        await waiting
    await store.close()


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


KEY: RecordKey = (AGENT, "a")


def saved(revision: int, ttl_ms: int) -> Change:
    return Change(revision, AGENT, "a", b"x", Facets(), None, Term(ttl_ms=ttl_ms))


def test_what_is_due_is_told_once() -> None:
    """And again only when somebody asks for that."""
    clock = Clock()
    terms = Terms(clock)
    assert terms.seconds_to_next() is None
    assert terms.follow([saved(1, 5_000)], {})
    assert terms.seconds_to_next() == 5
    clock.now += 5
    assert terms.due(10) == [(KEY, 1)]
    assert terms.due(10) == []
    assert terms.is_due(KEY, 1)
    terms.retry(KEY, 1)
    assert terms.seconds_to_next() == 1
    terms.follow([Change(2, AGENT, "a", None, None, None)], {})
    assert terms.seconds_to_next() is None
    assert not terms.is_due(KEY, 1)


def test_an_extended_term_is_due_later() -> None:
    """Without an entry in the queue for each extension."""
    clock = Clock()
    terms = Terms(clock)
    terms.follow([saved(1, 5_000)], {})
    for _ in range(3):
        clock.now += 4
        assert terms.extend(KEY, 1) == 5
        assert terms.due(10) == []
    assert terms.extend(KEY, 2) is None
    assert terms.remaining(KEY) == 5
    assert terms.seconds_to_next() == 1
    clock.now += 5
    assert terms.due(10) == [(KEY, 1)]


def test_what_was_stored_has_what_was_left_of_it() -> None:
    """And its whole TTL where the time of its end is not stored, or a clock was set far back."""
    terms = Terms(Clock(), lambda: 100.0)
    stored = {"past": 90_000, "soon": 102_000, "unknown": 0, "later": 900_000}
    terms.load(((AGENT, id), Head(1, Facets(), Term(0, 5_000, at))) for id, at in stored.items())
    assert {id: terms.remaining((AGENT, id)) for id in stored} == {"past": 0, "soon": 2, "unknown": 5, "later": 5}
    assert terms.due(10) == [((AGENT, "past"), 1)]
