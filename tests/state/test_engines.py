"""What every engine promises, over each of them."""

from __future__ import annotations

import pytest

from tests.state.conftest import ANSWER_BYTES, PAGE_BYTES, MakeEngine
from tests.state.samples import AGENT, TASK, drop, put, unsigned
from trunkline.errors import CompactedError, OverloadedError, RevisionMismatchError
from trunkline.records import RecordKind
from trunklined.state.engines.engine import Engine
from trunklined.state.records import ANY, Entry, Facets, Operation, Read


async def do(engine: Engine, *operations: Operation) -> list[object]:
    """Each as a transaction of its own, all in one commit; the results or errors."""
    commit = await engine.write([[operation] for operation in operations])
    return [outcome[0] if isinstance(outcome, list) else outcome for outcome in commit.outcomes]


async def test_the_last_write_wins(engine: Engine) -> None:
    """Without an expected revision, a save replaces whatever is there."""
    assert await do(engine, put("a", b"one")) == [1]
    assert await do(engine, put("a", b"two")) == [2]
    assert unsigned(await engine.read(AGENT, "a")) == Entry(AGENT, "a", 2, b"two")


async def test_equal_ids_in_different_entities_do_not_meet(engine: Engine) -> None:
    """The same id may exist in each kind."""
    await do(engine, *(put("x", kind.label.encode(), kind=kind) for kind in RecordKind))
    await do(engine, drop("x"))
    assert await engine.read(AGENT, "x") is None
    entry = await engine.read(TASK, "x")
    assert entry is not None
    assert entry.body == b"task_result"


async def test_expected_revision_0_means_must_not_exist(engine: Engine) -> None:
    """It creates; it does not replace."""
    created, refused = await do(engine, put("a", b"one", expected=0), put("a", b"two", expected=0))
    assert created == 1
    assert isinstance(refused, RevisionMismatchError)
    assert refused.details == {"kind": "agent_state", "id": "a", "expected": 0, "actual": 1}


async def test_a_conditional_write_that_fails_fails_alone_in_its_commit(engine: Engine) -> None:
    """Its neighbours are written, and revisions have no gap."""
    results = await do(engine, put("a"), put("b", expected=7), put("c"), drop("c", expected=9), put("a", expected=1))
    assert [result if isinstance(result, int) else type(result) for result in results] == [
        1,
        RevisionMismatchError,
        2,
        RevisionMismatchError,
        3,
    ]
    assert await engine.read(AGENT, "b") is None
    assert engine.holdings.revision == 3


async def test_a_transaction_happens_whole_or_not_at_all(engine: Engine) -> None:
    """A failing operation undoes those before it, also what they did to records that the commit had touched before."""
    await do(engine, put("a", b"old"), put("b", b"old"))
    commit = await engine.write(
        [[put("a", b"mid")], [put("a", b"new"), drop("b"), put("c"), put("d", expected=4)], [put("e")]]
    )
    assert commit.outcomes[0] == [3]
    refused = commit.outcomes[1]
    assert isinstance(refused, RevisionMismatchError)
    assert refused.details["operation"] == 3
    assert commit.outcomes[2] == [4]
    assert unsigned(await engine.read(AGENT, "a")) == Entry(AGENT, "a", 3, b"mid")
    assert unsigned(await engine.read(AGENT, "b")) == Entry(AGENT, "b", 2, b"old")
    assert await engine.read(AGENT, "c") is None
    assert engine.holdings.records[AGENT] == 3


async def test_a_read_amid_writes_sees_those_before_it_and_none_after(engine: Engine) -> None:
    """Also within one commit."""
    await do(engine, put("a", b"old"))
    results = await do(engine, Read(AGENT, "a"), put("a", b"new"), Read(AGENT, "a"), drop("a"), Read(AGENT, "a"))
    assert [unsigned(each) for each in results] == [
        Entry(AGENT, "a", 1, b"old"),
        2,
        Entry(AGENT, "a", 2, b"new"),
        3,
        None,
    ]


async def test_deleting_what_is_not_there_writes_nothing(engine: Engine) -> None:
    """It has no revision and no change."""
    assert await do(engine, drop("a")) == [0]
    assert engine.holdings.revision == 0
    assert await engine.changes(0, 10) == []


async def test_what_one_transaction_reads_is_bounded(engine: Engine) -> None:
    """Beyond the bound it is OVERLOADED, not a server out of memory."""
    await do(engine, put("a", b"x" * (ANSWER_BYTES // 2 + 1)))
    commit = await engine.write([[Read(AGENT, "a")], [Read(AGENT, "a"), Read(AGENT, "a")]])
    assert isinstance(commit.outcomes[0], list)
    assert isinstance(commit.outcomes[1], OverloadedError)


async def test_pages_come_in_order_of_ids_and_say_whether_others_follow(engine: Engine) -> None:
    """Ids of any text, in the order of their code points."""
    ids = ["", "a", "a\0b", "b", "é", "z", "日", "😀"][1:]
    await do(engine, *(put(id) for id in reversed(ids)))
    first = await engine.page(AGENT, ANY, None, 3)
    assert [entry.id for entry in first.entries] == sorted(ids)[:3]
    assert first.more
    rest = await engine.page(AGENT, ANY, first.entries[-1].id, 100)
    assert [entry.id for entry in rest.entries] == sorted(ids)[3:]
    assert not rest.more
    assert rest.revision == engine.holdings.revision


async def test_a_page_ends_early_when_its_records_are_large(engine: Engine) -> None:
    """One record at the least, so that it always gets on."""
    await do(engine, *(put(id, b"x" * PAGE_BYTES) for id in "abc"))
    page = await engine.page(AGENT, ANY, None, 100)
    assert [entry.id for entry in page.entries] == ["a"]
    assert page.more


async def test_a_filter_keeps_the_records_whose_fields_equal(engine: Engine) -> None:
    """Every field that is asked for must be equal."""
    await do(engine, put("a"), put("b", status="running"), put("c", status="running"))
    page = await engine.page(AGENT, Facets(status="running", agent_id="c"), None, 100)
    assert [entry.id for entry in page.entries] == ["c"]


async def test_changes_come_in_order_with_what_was_before(engine: Engine) -> None:
    """So that a watcher with a filter learns what left it, also when it resumes."""
    await do(engine, put("a", b"1"), put("a", b"2", status="running"))
    await do(engine, drop("a"))
    changes = await engine.changes(0, 10)
    assert [(change.revision, change.body) for change in changes] == [(1, b"1"), (2, b"2"), (3, None)]
    assert changes[0].before is None
    assert [change.before.facets.status for change in changes[1:] if change.before] == ["idle", "running"]
    assert [change.revision for change in await engine.changes(1, 1)] == [2]


async def test_history_beyond_its_bound_is_compacted_and_says_the_oldest(make_engine: MakeEngine) -> None:
    """Bounded by changes; records stay, however old."""
    engine = make_engine(history=8)
    await engine.open()
    await do(engine, put("old"))
    for number in range(40):
        await do(engine, put(f"r{number % 4}"))
    with pytest.raises(CompactedError) as caught:
        await engine.changes(0, 10)
    oldest = engine.holdings.oldest
    assert caught.value.details["oldest"] == oldest
    assert 41 - 8 - 2 <= oldest <= 41 - 8
    assert [change.revision for change in await engine.changes(oldest, 100)] == list(range(oldest + 1, 42))
    assert unsigned(await engine.read(AGENT, "old")) == Entry(AGENT, "old", 1, b"body")
    await engine.close()


async def test_history_is_bounded_by_bytes_too(make_engine: MakeEngine) -> None:
    """Large records cannot fill the disk with their past."""
    engine = make_engine(history_bytes=1000)
    await engine.open()
    for _ in range(20):
        await do(engine, put("a", b"x" * 300))
    assert engine.holdings.oldest == 17
    assert len(await engine.changes(17, 100)) == 3
    await engine.close()


async def test_holdings_count_the_records_of_each_kind(engine: Engine) -> None:
    """Replacing counts once, deleting counts back."""
    await do(engine, put("a"), put("a"), put("b"), put("t", kind=TASK), drop("b"))
    assert engine.holdings.records == {
        RecordKind.AGENT_STATE: 1,
        RecordKind.WORKFLOW_STATE: 0,
        RecordKind.TASK_RESULT: 1,
        RecordKind.LEASE: 0,
        RecordKind.AGENT_PRESENCE: 0,
    }


async def test_reads_never_lag_behind_writes_whatever_is_kept_in_memory(make_engine: MakeEngine) -> None:
    """Records larger together than what an engine keeps beside its file: each read is the last write, also after a
    deletion and after the file was opened anew."""
    engine = make_engine()
    await engine.open()
    body = b"x" * (2**20)
    for number in range(40):
        await do(engine, put(f"r{number}", body + b"1"))
    for number in range(0, 40, 2):
        await do(engine, put(f"r{number}", body + b"2"), drop(f"r{number + 1}"))
    for number in range(40):
        entry = await engine.read(AGENT, f"r{number}")
        assert (entry.body[-1:] if entry else None) == (None if number % 2 else b"2")
    await engine.close()
