"""The store without gRPC: a caller in the same process uses the domain and the checks of the wire as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import pytest

from tests.state.conftest import MAX_RECORD_BYTES
from tests.state.samples import AGENT, TASK, agent, drop
from trunkline.errors import (
    InvalidRecordError,
    MessageTooLargeError,
    OverloadedError,
    RevisionMismatchError,
    StateError,
)
from trunkline.records import RECORD_KINDS
from trunklined.state.batch import BatchOutcome, start_batch
from trunklined.state.records import ANY, Entry, Operation, Put, Read, make_facets
from trunklined.state.store import Store
from trunklined.state.watch import Synced, WatchFilter
from trunklined.state.wire.validation import make_put


async def run_batch(
    store: Store, operations: Sequence[Operation | StateError], *, atomic: bool = False
) -> list[BatchOutcome]:
    """The outcomes of a batch; raises the error of an atomic one that failed."""
    future: asyncio.Future[list[BatchOutcome] | StateError] = asyncio.get_running_loop().create_future()
    await start_batch(store, operations, future.set_result, atomic=atomic)
    outcomes = await future
    if isinstance(outcomes, StateError):
        raise outcomes
    return outcomes


def save(agent_id: str, expected: int | None = None, **fields: Any) -> Put:
    return make_put(AGENT, agent(agent_id, **fields).SerializeToString(), expected, MAX_RECORD_BYTES)


async def test_a_record_is_saved_read_listed_and_deleted(store: Store) -> None:
    """`execute` returns what the operation came to; `get` and `page` return entries."""
    assert await store.execute(save("a")) == 1
    entry = await store.get(AGENT, "a")
    assert isinstance(entry, Entry)
    assert (entry.id, entry.revision) == ("a", 1)
    assert [each.id for each in (await store.page(AGENT, ANY, None, 10)).entries] == ["a"]
    busy = make_facets([AGENT], {"status": "busy"})
    assert (await store.page(AGENT, busy, None, 10)).entries == []
    assert await store.execute(drop("a")) == 2
    assert await store.execute(drop("a")) == 0


async def test_what_is_refused_is_raised(store: Store) -> None:
    """Each refusal is the exception that a client gets."""
    with pytest.raises(MessageTooLargeError):
        save("a", metadata_json='{"x": "' + "x" * MAX_RECORD_BYTES + '"}')
    with pytest.raises(InvalidRecordError, match="agent_id is empty"):
        save("")
    with pytest.raises(InvalidRecordError, match=r"filter.phase is no field of agent_state"):
        make_facets([AGENT], {"phase": "testing"})
    with pytest.raises(RevisionMismatchError):
        await store.execute(save("a", expected=7))


async def test_a_batch_has_an_outcome_for_each_operation(store: Store) -> None:
    """Also for one that was refused before it came to the store; a read of nothing is None."""
    refused = InvalidRecordError("no")
    outcomes = await run_batch(store, [save("a"), refused, save("a", expected=7), Read(AGENT, "b"), drop("b")])
    assert outcomes[0] == 1
    assert outcomes[1] is refused
    assert isinstance(outcomes[2], RevisionMismatchError)
    assert outcomes[3:] == [None, 0]
    assert store.counts.errors == {"INVALID_RECORD": 1, "REVISION_MISMATCH": 1}


async def test_an_atomic_batch_happens_whole_or_not_at_all(store: Store) -> None:
    """Its error names the operation, also where it is the only one."""
    for operations, index in (([save("a"), save("b", expected=7)], 1), ([save("b", expected=7)], 0)):
        with pytest.raises(RevisionMismatchError) as caught:
            await run_batch(store, operations, atomic=True)
        assert caught.value.details["operation"] == index
    with pytest.raises(StateError) as refused:
        await run_batch(store, [save("a"), InvalidRecordError("no")], atomic=True)
    assert refused.value.details["operation"] == 1
    assert await store.get(AGENT, "a") is None
    assert await run_batch(store, [save("a"), Read(TASK, "t")], atomic=True) == [1, None]


async def test_a_batch_that_the_store_does_not_take_fails(store: Store) -> None:
    """Operations beyond what may wait have OVERLOADED as their outcome."""
    done: list[object] = []
    for index in range(1_000):
        store.submit([save(str(index))], 1, done.append)
    (outcome,) = await run_batch(store, [save("is one too many")])
    assert isinstance(outcome, OverloadedError)
    assert not done


async def test_a_watch_gives_entries(store: Store) -> None:
    """The records, SYNCED, then changes: of the kinds, the id and the filter that are given."""
    await store.execute(save("a"))
    filter = WatchFilter((RECORD_KINDS["agent_state"],), None, ANY)
    async with aclosing(store.watch(filter, None)) as events:
        assert (await anext(events)).revision == 1
        assert await anext(events) == Synced(1)
        await store.execute(save("b"))
        event = await anext(events)
        assert isinstance(event, Entry)
        assert event.id == "b"
