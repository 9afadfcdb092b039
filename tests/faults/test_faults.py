"""Each program is killed while agents work through it; the others recover, and nobody lies about being connected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from tests.contract.inbox import Inbox, numbered
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline import (
    AgentMessage,
    AgentState,
    BusDisconnectedError,
    GrpcMessageBus,
    GrpcStateManager,
    NoRespondersError,
    RequestTimeoutError,
    StateDisconnectedError,
    TrunklineError,
)


class Watched:
    """A bus whose listeners are events, with a responder of its own."""

    def __init__(self, address: str) -> None:
        self.lost = asyncio.Event()
        self.back = asyncio.Event()
        self.reasons: list[TrunklineError] = []
        self.bus = GrpcMessageBus(address, on_disconnected=self._on_lost, on_reconnected=self._on_back)

    def _on_lost(self, reason: TrunklineError) -> None:
        assert not self.bus.is_connected, "is_connected tells the truth"
        self.reasons.append(reason)
        self.back.clear()
        self.lost.set()

    def _on_back(self) -> None:
        assert self.bus.is_connected, "is_connected tells the truth"
        self.lost.clear()
        self.back.set()

    async def answer(self, message: AgentMessage) -> None:
        await self.bus.publish("faults:replies", message.create_response("agent", "x", dict(message.payload)))


@pytest.fixture
def channel() -> str:
    """A channel of this test alone."""
    return f"faults:{uuid4().hex}:work"


@pytest.fixture
async def agent(killable_bus: RunningProgram) -> AsyncIterator[Watched]:
    watched = Watched(killable_bus.address)
    async with watched.bus:
        yield watched


@contextmanager
def down(program: RunningProgram) -> Iterator[None]:
    """A program that is killed, and comes back at the end."""
    program.kill()
    try:
        yield
    finally:
        program.start()


async def _until(reached: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            if reached():
                return
            await asyncio.sleep(0.01)
    raise AssertionError(what)


async def _works(bus: GrpcMessageBus, channel: str) -> None:
    """Asks until there is an answer: it is known to come back, not in which moment."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                reply = await bus.request(channel, numbered("works?"), timeout=2)
            except (NoRespondersError, BusDisconnectedError, RequestTimeoutError):
                await asyncio.sleep(0.02)
                continue
            assert reply.payload == {"n": "works?"}
            return


async def test_subscriptions_come_back_when_the_bus_was_killed(
    agent: Watched, killable_bus: RunningProgram, channel: str
) -> None:
    """Connection loss: what was pending fails with BUS_DISCONNECTED, subscriptions come back, listeners are told."""
    inbox, members, silent = Inbox(), Inbox(), Inbox()
    await agent.bus.subscribe(f"{channel}:>", inbox)
    await agent.bus.subscribe(f"{channel}:shared", members, group="g")
    await agent.bus.subscribe(f"{channel}:silent", silent)
    stream = agent.bus.messages(f"{channel}:stream")
    stepping = asyncio.ensure_future(anext(stream))
    for round_ in range(2):
        pending = [
            asyncio.ensure_future(agent.bus.request(f"{channel}:silent", numbered(n), timeout=60)) for n in range(3)
        ]
        await silent.have(3 * round_ + 3)
        with down(killable_bus):
            await asyncio.wait_for(agent.lost.wait(), PATIENCE)
            assert not agent.bus.is_connected
            for each in pending:
                with pytest.raises(BusDisconnectedError) as caught:
                    await each
                assert caught.value.error_code == "BUS_DISCONNECTED"
            with pytest.raises(BusDisconnectedError):
                await agent.bus.request(f"{channel}:silent", numbered("refused at once"), timeout=60)
            with pytest.raises(BusDisconnectedError):
                await agent.bus.flush()
            await agent.bus.publish(f"{channel}:meanwhile", numbered(f"meanwhile {round_}"))
        await asyncio.wait_for(agent.back.wait(), PATIENCE)
        assert agent.bus.is_connected
        await inbox.until(lambda: f"meanwhile {round_}" in inbox.numbers, "what was published meanwhile")  # noqa: B023
        await agent.bus.publish(f"{channel}:shared", numbered(f"after {round_}"))
        await members.have(round_ + 1)
        assert inbox.numbers.count(f"after {round_}") <= 1
    await agent.bus.publish(f"{channel}:stream", numbered("stream"))
    assert (await asyncio.wait_for(stepping, PATIENCE)).payload == {"n": "stream"}
    assert len(agent.reasons) == 2
    assert all(isinstance(reason, BusDisconnectedError) for reason in agent.reasons)
    await stream.aclose()


async def test_what_is_subscribed_while_the_bus_is_away_is_there_when_it_is_back(
    agent: Watched, killable_bus: RunningProgram, channel: str
) -> None:
    """subscribe while the connection is being restored returns when it is in effect; unsubscribe works too."""
    kept, dropped, new = Inbox(), Inbox(), Inbox()
    await agent.bus.subscribe(channel, kept)
    await agent.bus.subscribe(f"{channel}:dropped", dropped)
    await agent.bus.publish(f"{channel}:unflushed", numbered("in doubt"))
    with down(killable_bus):
        await asyncio.wait_for(agent.lost.wait(), PATIENCE)
        subscribing = asyncio.ensure_future(agent.bus.subscribe(f"{channel}:new", new))
        await agent.bus.unsubscribe(f"{channel}:dropped")
        await asyncio.sleep(0)
        assert not subscribing.done()
    await asyncio.wait_for(subscribing, PATIENCE)
    for name in ("", ":dropped", ":new"):
        await agent.bus.publish(f"{channel}{name}", numbered(name))
    await new.have(1)
    await kept.have(1)
    with pytest.raises(NoRespondersError):
        await agent.bus.request(f"{channel}:dropped", numbered("anybody?"), timeout=5)
    assert dropped.messages == []
    with pytest.raises(BusDisconnectedError):
        await agent.bus.flush()  # says once that what was published may be lost, and nothing worse
    await agent.bus.flush()


async def test_disconnecting_while_the_bus_is_away(agent: Watched, killable_bus: RunningProgram, channel: str) -> None:
    """disconnect ends the attempts; connect starts clean when the bus is back."""
    old, new = Inbox(), Inbox()
    await agent.bus.subscribe(channel, old)
    with down(killable_bus):
        await asyncio.wait_for(agent.lost.wait(), PATIENCE)
        await agent.bus.publish(channel, numbered("lost with the disconnect"))
        await asyncio.wait_for(agent.bus.disconnect(), PATIENCE)
        with pytest.raises(BusDisconnectedError):
            await GrpcMessageBus(killable_bus.address, connect_timeout=0.2).connect()
    await agent.bus.connect()
    await agent.bus.subscribe(channel, new)
    await agent.bus.publish(channel, numbered("new"))
    await new.have(1)
    assert new.numbers == ["new"]
    assert old.messages == []


async def test_messages_held_and_credit_survive_many_losses(
    agent: Watched, killable_bus: RunningProgram, channel: str
) -> None:
    """A group member with little credit works on after each loss, and gets no message twice."""
    inbox = Inbox()
    await agent.bus.subscribe(channel, inbox, group="g", concurrency=2, credit=3)
    for round_ in range(3):
        for n in range(10):
            await agent.bus.publish(channel, numbered(round_ * 10 + n))
        await inbox.have(round_ * 10 + 10)
        killable_bus.kill()
        await asyncio.wait_for(agent.lost.wait(), PATIENCE)
        killable_bus.start()
        await asyncio.wait_for(agent.back.wait(), PATIENCE)
    assert sorted(inbox.numbers) == list(range(30))


async def test_the_bus_stops_gracefully_and_comes_back(
    agent: Watched, killable_bus: RunningProgram, channel: str
) -> None:
    """SIGTERM: pending requests fail with BUS_DISCONNECTED, and the client comes back as after a crash."""
    silent = Inbox()
    await agent.bus.subscribe(channel, silent)
    pending = asyncio.ensure_future(agent.bus.request(channel, numbered(1), timeout=60))
    await silent.have(1)
    code = await asyncio.to_thread(killable_bus.stop)
    assert code == 0
    with pytest.raises(BusDisconnectedError):
        await pending
    await asyncio.wait_for(agent.lost.wait(), PATIENCE)
    killable_bus.start()
    await asyncio.wait_for(agent.back.wait(), PATIENCE)
    await agent.bus.publish(channel, numbered(2))
    await silent.have(2)


async def test_state_reads_and_writes_go_on_when_the_state_service_was_killed(
    killable_state: RunningProgram, killable_bus: RunningProgram, agent: Watched, channel: str
) -> None:
    """The state service is killed: what was answered is still there, reads go on, and the bus noticed nothing."""
    await agent.bus.subscribe(channel, agent.answer)
    state = GrpcStateManager(killable_state.address, timeout=0.5)
    async with state:
        await state.save_agent_state(AgentState(agent_id="a", agent_type="coding", error_count=7))
        with down(killable_state):
            await _until(lambda: not state.is_connected, "the loss is noticed")
            with pytest.raises(StateDisconnectedError):
                await state.get_agent_state("a")
            await _works(agent.bus, channel)
        await _until(lambda: state.is_connected, "the connection comes back")
        kept = await state.get_agent_state("a")
        assert kept is not None
        assert kept.error_count == 7
        await state.save_agent_state(AgentState(agent_id="b", agent_type="coding"))
    assert not agent.lost.is_set()
    assert agent.reasons == []


async def test_the_sidecar_is_killed_and_agents_behind_it_recover(
    killable_sidecar: RunningProgram, agent: Watched, channel: str
) -> None:
    """The sidecar is killed: who speaks to it recovers, who speaks to the bus itself noticed nothing."""
    beside = Watched(killable_sidecar.address)
    async with beside.bus, GrpcStateManager(killable_sidecar.address) as state:
        await beside.bus.subscribe(channel, beside.answer)
        await state.save_agent_state(AgentState(agent_id="a", agent_type="coding"))
        await _works(agent.bus, channel)
        with down(killable_sidecar):
            await asyncio.wait_for(beside.lost.wait(), PATIENCE)
            assert not beside.bus.is_connected
        await asyncio.wait_for(beside.back.wait(), PATIENCE)
        await _works(agent.bus, channel)
        await _until(lambda: state.is_connected, "the state line comes back")
        assert await state.get_agent_state("a") is not None
        assert agent.reasons == []


async def test_the_bus_behind_a_sidecar_is_killed(
    killable_sidecar: RunningProgram, killable_bus: RunningProgram, channel: str
) -> None:
    """Through a sidecar, is_connected says whether the bus is there, once: it does not flicker meanwhile."""
    beside = Watched(killable_sidecar.address)
    async with beside.bus:
        await beside.bus.subscribe(channel, beside.answer)
        await _works(beside.bus, channel)
        with down(killable_bus):
            await asyncio.wait_for(beside.lost.wait(), PATIENCE)
            flickers = 0
            for _ in range(100):
                flickers += beside.bus.is_connected
                await asyncio.sleep(0.01)
            assert flickers == 0
            with pytest.raises(BusDisconnectedError):
                await beside.bus.request(channel, numbered(1), timeout=5)
        await asyncio.wait_for(beside.back.wait(), PATIENCE)
        await _works(beside.bus, channel)
        assert len(beside.reasons) == 1
