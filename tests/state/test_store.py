"""The store: group commit, order, bounds, failure and the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tests.patience import PATIENCE
from tests.state.conftest import MakeEngine, make_store
from tests.state.samples import AGENT, drop, put, unsigned
from trunkline.errors import InternalError, OverloadedError, RevisionMismatchError, StateDisconnectedError, StorageError
from trunklined.state.engines.engine import Commit, Engine
from trunklined.state.planning import Bound, none_bound
from trunklined.state.records import ANY, Entry, Transaction
from trunklined.state.store import Store
from trunklined.state.write_queue import COMMIT_OPERATIONS


class GatedEngine:
    """A real engine whose commits wait until the test lets them go, or fail."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.gate = asyncio.Event()
        self.began = asyncio.Event()
        self.groups: list[int] = []
        self.failure: Exception | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._engine, name)

    async def write(self, transactions: Sequence[Transaction], bound: Bound = none_bound) -> Commit:
        self.groups.append(len(transactions))
        self.began.set()
        await self.gate.wait()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return await self._engine.write(transactions, bound)


@pytest.fixture
async def gated(make_engine: MakeEngine) -> GatedEngine:
    return GatedEngine(make_engine())


async def opened(engine: GatedEngine, waiting: int = 1000) -> Store:
    store = make_store(engine, waiting=waiting)  # type: ignore[arg-type]  # it delegates the rest
    await store.open()
    return store


async def test_saves_that_arrive_together_share_a_commit(gated: GatedEngine) -> None:
    """What arrives while one commit runs is the next one; each has its own answer."""
    store = await opened(gated)
    first = asyncio.create_task(store.write([put("a")], 1))
    await gated.began.wait()
    rest = [asyncio.create_task(store.write([put(f"r{n}", expected=0 if n else 5)], 1)) for n in range(10)]
    await asyncio.sleep(0)
    gated.gate.set()
    assert await first == [1]
    answers = await asyncio.gather(*rest)
    assert gated.groups == [1, 10]
    assert store.counts.commits == 2
    assert isinstance(answers[0], RevisionMismatchError)
    assert answers[1:] == [[revision] for revision in range(2, 11)]
    await store.close()


async def test_a_commit_gathers_a_bounded_number(gated: GatedEngine) -> None:
    """So that a crowd of writers never keeps the loop busy for long."""
    store = await opened(gated)
    writes = [asyncio.create_task(store.write([put(f"r{n}")], 1)) for n in range(2 * COMMIT_OPERATIONS + 1)]
    gated.gate.set()
    await asyncio.gather(*writes)
    assert max(gated.groups) <= COMMIT_OPERATIONS
    await store.close()


async def test_nobody_waits_for_all_that_another_client_submitted(gated: GatedEngine) -> None:
    """What another one submits goes with the next commit, not behind all that came before it."""
    store = await opened(gated, waiting=10 * COMMIT_OPERATIONS)
    done: list[str] = []
    crowd = 5 * COMMIT_OPERATIONS
    for number in range(crowd):
        store.submit([put(f"r{number}")], 1, lambda _: done.append("crowd"), "crowd")
    await gated.began.wait()
    for number in range(10):
        store.submit([put(f"s{number}")], 1, lambda _: done.append("other"), "other")
    gated.gate.set()
    await store.drain(PATIENCE)
    assert len(done) == crowd + 10
    assert done.index("other") >= COMMIT_OPERATIONS  # behind what was being committed
    assert [who for who in done[COMMIT_OPERATIONS : 2 * COMMIT_OPERATIONS] if who == "other"] == ["other"] * 10
    await store.close()


async def test_each_client_and_each_record_keep_their_order(gated: GatedEngine) -> None:
    """A client's writes are done in the order in which it submits them, and so are all that are made to one record:
    what another one says of a record that waits goes behind that, and what it submits then goes behind it."""
    store = await opened(gated, waiting=10 * COMMIT_OPERATIONS)
    done: list[str] = []

    def submit(source: str, id: str) -> None:
        store.submit([put(id, f"{source} {id}".encode())], 1, lambda _: done.append(f"{source} {id}"), source)

    for number in range(3 * COMMIT_OPERATIONS):
        submit("a", f"r{number}")
    last = f"r{3 * COMMIT_OPERATIONS - 1}"
    submit("b", "first")
    submit("b", last)
    submit("b", "after")
    gated.gate.set()
    await store.drain(PATIENCE)
    assert [each for each in done if each.startswith("a")] == [
        f"a r{number}" for number in range(3 * COMMIT_OPERATIONS)
    ]
    assert [each for each in done if each.startswith("b")] == ["b first", f"b {last}", "b after"]
    assert done.index("b first") < COMMIT_OPERATIONS
    assert done.index(f"b {last}") > done.index(f"a {last}")
    entry = await store.get(AGENT, last)
    assert entry is not None
    assert entry.body == f"b {last}".encode()
    await store.close()


async def test_what_was_written_is_read_also_before_it_is_answered(gated: GatedEngine) -> None:
    """A get or a list behind a write of the same caller waits for its commit; other records do not wait."""
    store = await opened(gated)
    write = asyncio.create_task(store.write([put("a", b"new")], 3))
    await gated.began.wait()
    get = asyncio.create_task(store.get(AGENT, "a"))
    page = asyncio.create_task(store.page(AGENT, ANY, None, 10))
    assert await store.get(AGENT, "b") is None
    assert not get.done()
    gated.gate.set()
    assert await write == [1]
    assert unsigned(await get) == Entry(AGENT, "a", 1, b"new")
    assert [entry.id for entry in (await page).entries] == ["a"]
    await store.close()


async def test_too_many_waiting_writes_are_refused(gated: GatedEngine) -> None:
    """OVERLOADED names the limit; what was taken is done."""
    store = await opened(gated, waiting=3)
    writes = [asyncio.create_task(store.write([put(f"r{n}")], 1)) for n in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError) as caught:
        store.submit([put("more")], 1, lambda _: None)
    assert caught.value.details == {"limit": "waiting_writes", "maximum": 3}
    gated.gate.set()
    assert [await write for write in writes] == [[1], [2], [3]]
    await store.close()


@pytest.mark.parametrize(
    ("failure", "answer"),
    [(StorageError("disk I/O error"), StorageError), (RuntimeError("a bug"), InternalError)],
)
async def test_a_commit_that_fails_answers_no_success_and_the_store_goes_on(
    gated: GatedEngine, failure: Exception, answer: type[Exception]
) -> None:
    """Everything of the group fails, an unexpected error without its text; the next commit works."""
    store = await opened(gated)
    gated.failure = failure
    gated.gate.set()
    outcomes = await asyncio.gather(*(store.write([put(f"r{n}")], 1) for n in range(3)))
    assert all(isinstance(outcome, answer) for outcome in outcomes)
    assert "a bug" not in str(outcomes)
    assert await store.get(AGENT, "r0") is None
    assert await store.write([put("r0")], 1) == [1]
    await store.close()


async def test_draining_finishes_what_was_taken_and_takes_nothing_more(gated: GatedEngine) -> None:
    """An accepted write is answered; a later one learns that the service shuts down."""
    store = await opened(gated)
    write = asyncio.create_task(store.write([put("a")], 1))
    await gated.began.wait()
    drain = asyncio.create_task(store.drain(10))
    await asyncio.sleep(0)
    with pytest.raises(StateDisconnectedError):
        await store.write([put("b")], 1)
    gated.gate.set()
    await drain
    assert await write == [1]
    await store.close()


async def test_closing_leaves_nobody_waiting(gated: GatedEngine) -> None:
    """What could not be done fails; closing twice is fine."""
    store = await opened(gated)
    running = asyncio.create_task(store.write([put("a")], 1))
    await gated.began.wait()
    queued = asyncio.create_task(store.write([put("b")], 1))
    await asyncio.sleep(0)
    await store.close()
    await store.close()
    assert isinstance(await running, StateDisconnectedError)
    assert isinstance(await queued, StateDisconnectedError)


async def test_many_writers_of_one_record_each_win_once(store: Store) -> None:
    """Compare and set under contention: every revision is seen by exactly one writer."""

    async def increment(times: int) -> None:
        done = 0
        while done < times:
            entry = await store.get(AGENT, "counter")
            value, revision = (int(entry.body), entry.revision) if entry else (0, 0)
            outcome = await store.write([put("counter", str(value + 1).encode(), expected=revision)], 1)
            done += isinstance(outcome, list)

    await asyncio.gather(*(increment(20) for _ in range(10)))
    entry = await store.get(AGENT, "counter")
    assert entry is not None
    assert (entry.body, entry.revision) == (b"200", 200)


async def test_counts_tell_what_happened(store: Store) -> None:
    """Writes that happened, reads that were asked for."""
    await store.write([put("a"), put("b"), drop("a"), drop("a")], 2)
    await store.get(AGENT, "b")
    await store.page(AGENT, ANY, None, 10)
    counts = store.counts
    assert (counts.saves, counts.deletes, counts.gets, counts.lists, counts.commits) == (2, 1, 1, 1, 1)
    assert counts.commit_latency.cumulative()[-1] == ("+Inf", 1)
    assert counts.commit_latency.total > 0
