"""Leases, fenced writes, lifetimes and presence, over every StateManager: in memory, over gRPC, through a sidecar."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from tests.contract.conftest import MakeManager
from tests.patience import PATIENCE
from trunkline import (
    AgentState,
    Change,
    ChangeType,
    Delete,
    EndReason,
    InvalidRecordError,
    Lease,
    LeaseHeldError,
    LeaseInfo,
    LeaseLostError,
    Save,
    StateManager,
)

SHORT = 0.3
"""Seconds of a lease that ends in a test."""


@pytest.fixture
async def manager(new_manager: MakeManager) -> AsyncIterator[StateManager]:
    async with new_manager() as manager:
        yield manager


@pytest.fixture
def name() -> str:
    """A name of this test alone: the service is shared."""
    return f"lease-{uuid.uuid4().hex[:12]}"


def agent(agent_id: str, **fields: Any) -> AgentState:
    return AgentState(agent_id=agent_id, **{"agent_type": "coding", **fields})


async def abandon(lease: Lease) -> LeaseInfo:
    """What is left of a lease whose holder stands still: nobody renews it."""
    lease.abandon()
    return LeaseInfo(lease.name, lease.number, "", lease.ttl)


async def ended(manager: StateManager, kind: Any, id: str, revision: int) -> Change:
    """The end of a record, from a watch of what came after a revision."""
    async with asyncio.timeout(PATIENCE), aclosing(manager.watch(kind, id=id, after_revision=revision)) as changes:  # type: ignore[type-var]
        async for change in changes:
            if change.type is ChangeType.DELETED:
                return change
    raise AssertionError("the watch ended")


async def test_a_lease_has_one_holder(manager: StateManager, name: str) -> None:
    """A second one is refused at once, and told who holds it; after the release it is free, with a higher number."""
    first = await manager.acquire(name, ttl=60, holder="first", metadata={"a": 1})
    assert first.is_held
    with pytest.raises(LeaseHeldError) as caught:
        await manager.acquire(name, holder="second")
    details = caught.value.details
    assert (details["name"], details["holder"], details["number"]) == (name, "first", first.number)
    assert 0 < details["remaining_seconds"] <= 60
    [seen] = await manager.list_leases(name=name)
    assert (seen.name, seen.number, seen.holder, seen.ttl, seen.metadata) == (name, first.number, "first", 60, {"a": 1})
    assert seen.remaining is not None
    assert seen.written_by
    assert seen.written_at is not None
    await first.release()
    await first.release()
    assert not first.is_held
    assert await manager.list_leases(name=name) == []
    async with await manager.acquire(name) as second:
        assert second.number > first.number


async def test_whoever_waits_gets_the_lease_in_order(manager: StateManager, name: str) -> None:
    """First come, first served; a waiter that was cancelled takes nothing."""
    holder = await manager.acquire(name, ttl=60)
    got: list[str] = []

    async def wait(who: str) -> None:
        async with await manager.acquire(name, ttl=60, wait=PATIENCE, holder=who):
            got.append(who)

    tasks = []
    for count, who in enumerate(("a", "cancelled", "b"), 1):
        tasks.append(asyncio.ensure_future(wait(who)))
        await until_waiting(manager, count)
    tasks[1].cancel()
    await until_waiting(manager, 2)
    await holder.release()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(tasks[0], tasks[2])
    assert got == ["a", "b"]
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]


async def until_waiting(manager: StateManager, count: int) -> None:
    async def has_come() -> bool:
        return (await manager.statistics()).lease_waiters == count

    await until(has_come)


async def until(has_come: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await has_come():  # noqa: ASYNC110  # it comes to pass in another process
            await asyncio.sleep(0.01)


async def test_a_wait_that_passes_says_who_holds_the_lease(manager: StateManager, name: str) -> None:
    """The same error as without a wait."""
    async with await manager.acquire(name, ttl=60, holder="me"):
        with pytest.raises(LeaseHeldError, match="'me'"):
            await manager.acquire(name, wait=0.05)


async def test_a_lease_that_nobody_renews_goes_to_who_waits(manager: StateManager, name: str) -> None:
    """Its number is higher, and its end says why."""
    first = await manager.acquire(name, ttl=SHORT)
    held = await abandon(first)
    async with asyncio.timeout(PATIENCE):
        second = await manager.acquire(name, ttl=60, wait=True)
    assert second.number > first.number
    change = await ended(manager, "lease", name, first.number)
    assert change.reason is EndReason.EXPIRED
    with pytest.raises(LeaseLostError):
        await manager.release_lease(name, held.number)
    await second.release()


async def test_a_lease_is_renewed_for_as_long_as_it_is_held(manager: StateManager, name: str) -> None:
    """Its number stays."""
    before = (await manager.statistics()).lease_renewals
    async with await manager.acquire(name, ttl=5) as lease:

        async def is_renewed() -> bool:
            return (await manager.statistics()).lease_renewals > before

        await until(is_renewed)
        assert lease.is_held
        assert [each.number for each in await manager.list_leases(name=name)] == [lease.number]


async def test_a_holder_hears_that_its_lease_was_taken_away(manager: StateManager, name: str) -> None:
    """An operator released it: the callback is called, with the lease, and writes with it are refused."""
    lost: list[Lease] = []
    lease = await manager.acquire(name, ttl=0.5, on_lost=lost.append)
    await manager.release_lease(name, lease.number)
    async with asyncio.timeout(PATIENCE):
        await lease.ended.wait()
    assert lost == [lease]
    assert isinstance(lease.error, LeaseLostError)
    assert not lease.is_held
    with pytest.raises(LeaseLostError):
        await manager.save_agent_state(agent(name), fence=lease)
    assert await manager.get_agent_state(name) is None


async def test_a_fenced_write_needs_the_lease(manager: StateManager, name: str) -> None:
    """Saves, deletes and whole atomic batches; an old number writes nothing, however late it comes."""
    first = await manager.acquire(name, ttl=60)
    await manager.save_agent_state(agent(name), fence=first)
    old = await abandon(first)
    await manager.release_lease(name, old.number)
    with pytest.raises(LeaseLostError) as nobody:
        await manager.save_agent_state(agent(name, status="old"), fence=old)
    assert nobody.value.details == {"name": name, "number": old.number, "current": 0}
    async with await manager.acquire(name, ttl=60) as second:
        with pytest.raises(LeaseLostError) as other:
            await manager.delete_agent_state(name, fence=old)
        assert other.value.details["current"] == second.number
        with pytest.raises(LeaseLostError):
            await manager.batch([Save(agent(f"{name}-2")), Delete("agent_state", name, fence=old)], atomic=True)
        assert await manager.get_agent_state(f"{name}-2") is None
        assert await manager.delete_agent_state(name, fence=second)


async def test_a_record_ends_with_its_lease(manager: StateManager, name: str) -> None:
    """All that is bound, and only that; the watch says why. A later save without the lease unbinds."""
    lease = await manager.acquire(name, ttl=60)
    await manager.save_agent_state(agent(f"{name}-bound"), lease=lease)
    await manager.save_agent_state(agent(f"{name}-unbound"), lease=lease)
    await manager.save_agent_state(agent(f"{name}-unbound"))
    await lease.release()
    assert await manager.get_agent_state(f"{name}-bound") is None
    assert await manager.get_agent_state(f"{name}-unbound") is not None
    change = await ended(manager, "agent_state", f"{name}-bound", lease.number)
    assert change.reason is EndReason.LEASE_ENDED
    with pytest.raises(LeaseLostError):
        await manager.save_agent_state(agent(f"{name}-late"), lease=await abandon(lease))


async def test_a_record_with_a_ttl_ends_unless_it_is_touched(manager: StateManager, name: str) -> None:
    """A touch keeps the revision; the end comes in the watch."""
    revision = await manager.save_agent_state(agent(name), ttl=60)
    assert await manager.touch("agent_state", name)
    kept = await manager.get_agent_state(name)
    assert kept is not None
    assert kept.revision == revision
    assert await manager.touch("agent_state", name, ttl=SHORT)
    assert (await ended(manager, "agent_state", name, revision)).reason is EndReason.EXPIRED
    assert await manager.get_agent_state(name) is None
    assert not await manager.touch("agent_state", name)


async def test_a_save_without_a_ttl_stays(manager: StateManager, name: str) -> None:
    """A save says the TTL anew; a touch of a record without one is refused."""
    await manager.save_agent_state(agent(name), ttl=SHORT)
    await manager.save_agent_state(agent(name))
    with pytest.raises(InvalidRecordError, match="ttl is not set"):
        await manager.touch("agent_state", name)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"ttl": 0}, "ttl"),
        ({"ttl": 0.01}, "ttl"),
        ({"ttl": 365 * 86_400.0}, "ttl"),
        ({"ttl": float("nan")}, "ttl"),
        ({"wait": -1}, "wait"),
        ({"wait": 1e9}, "wait"),
        ({"holder": "x" * 513}, "holder"),
    ],
)
async def test_a_lease_that_cannot_be_is_refused(
    manager: StateManager, name: str, options: dict[str, Any], field: str
) -> None:
    """The error names the field; nothing is held."""
    with pytest.raises(InvalidRecordError) as caught:
        await manager.acquire(name, **options)
    assert caught.value.details["field"] == field
    assert await manager.list_leases(name=name) == []


async def test_an_agent_is_found_by_what_it_can_do(manager: StateManager, name: str) -> None:
    """By capability, type and status, while it is announced; its id is taken meanwhile."""
    can, other = f"{name}-can", f"{name}-other"
    async with (
        await manager.announce(f"{name}-1", [can, other], type="coding", metadata={"model": "m"}) as first,
        await manager.announce(f"{name}-2", [can], type="review"),
    ):
        assert [each.agent_id for each in await manager.find_agents(capability=can)] == [f"{name}-1", f"{name}-2"]
        [found] = await manager.find_agents(capability=can, type="coding", status="idle")
        assert found == first.presence
        assert found.metadata == {"model": "m"}
        assert await manager.find_agents(capability=can[:-1]) == []
        await first.update(status="running", capabilities=[other])
        assert [each.agent_id for each in await manager.find_agents(capability=can)] == [f"{name}-2"]
        [busy] = await manager.find_agents(capability=other, status="running")
        assert busy.agent_id == f"{name}-1"
        with pytest.raises(LeaseHeldError):
            await manager.announce(f"{name}-1")
    assert await manager.find_agents(capability=can) == []


async def test_agents_that_come_and_go_are_watched(manager: StateManager, name: str) -> None:
    """With the reason of their end; one that can no longer do what is asked for has left."""
    async with asyncio.timeout(PATIENCE), aclosing(manager.watch_agents(capability=name)) as changes:  # type: ignore[type-var]
        assert (await anext(aiter(changes))).type is ChangeType.SYNCED
        announced = await manager.announce(f"{name}-1", [name])
        came = await anext(aiter(changes))
        assert (came.type, came.id, came.record) == (ChangeType.SAVED, f"{name}-1", announced.presence)
        await announced.update(capabilities=[])
        assert (await anext(aiter(changes))).type is ChangeType.LEFT
        await announced.update(capabilities=[name])
        assert (await anext(aiter(changes))).type is ChangeType.SAVED
        await announced.withdraw()
        gone = await anext(aiter(changes))
        assert (gone.type, gone.reason) == (ChangeType.DELETED, EndReason.LEASE_ENDED)


async def test_an_agent_whose_lease_was_lost_is_announced_again(manager: StateManager, name: str) -> None:
    """As it was announced last, and its owner is told."""
    lost = asyncio.Event()
    async with await manager.announce(name, [name], ttl=0.5, on_lost=lambda _: lost.set()) as announced:
        first = announced.lease
        await manager.release_lease(first.name, first.number)
        async with asyncio.timeout(PATIENCE):
            await lost.wait()

        async def is_back() -> bool:
            return bool(await manager.find_agents(capability=name))

        await until(is_back)


@pytest.mark.parametrize("capabilities", [[""], ["a\nb"], ["x" * 129], ["x"] * 257])
async def test_capabilities_that_cannot_be_are_refused(
    manager: StateManager, name: str, capabilities: list[str]
) -> None:
    """Before anything is taken."""
    with pytest.raises(InvalidRecordError) as caught:
        await manager.announce(name, capabilities)
    assert caught.value.details["field"].startswith("capabilities")
    assert await manager.list_leases(name=f"agent/{name}") == []


async def test_disconnecting_releases_what_is_held(new_manager: MakeManager, name: str) -> None:
    """Others need not wait for its TTL."""
    async with new_manager() as manager:
        lease = await manager.acquire(name, ttl=60)
    assert not lease.is_held
    async with new_manager() as other:
        assert await other.list_leases(name=name) == []


async def test_leases_are_watched_and_a_watch_without_kinds_knows_nothing_of_them(
    manager: StateManager, name: str
) -> None:
    """Who took it, then its release; a watch of everything sees neither, nor presence: older clients know none."""
    async with (
        asyncio.timeout(PATIENCE),
        aclosing(manager.watch_leases(name)) as changes,  # type: ignore[type-var]
    ):
        assert (await anext(aiter(changes))).type is ChangeType.SYNCED
        lease = await manager.acquire(name, ttl=60, holder="me")
        taken = await anext(aiter(changes))
        assert isinstance(taken.record, LeaseInfo)
        assert (taken.id, taken.record.holder, taken.record.number) == (name, "me", lease.number)
        await lease.release()
        assert (await anext(aiter(changes))).reason is EndReason.DELETED
    revision = await manager.save_agent_state(agent(name))
    async with aclosing(manager.watch(after_revision=lease.number - 1)) as everything:  # type: ignore[type-var]
        async for change in everything:
            assert change.kind != "lease"
            if change.revision >= revision:
                break
