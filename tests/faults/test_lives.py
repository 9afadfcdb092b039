"""What the other sides of a request hear when one of them dies, stands still or fails: over a bus and a sidecar, with
real processes."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from tests.conftest import StartProgram
from tests.contract.conftest import ADDRESS_OF
from tests.contract.inbox import numbered
from tests.patience import PATIENCE
from trunkline import (
    Accepted,
    BusDisconnectedError,
    GrpcMessageBus,
    LifeEvent,
    Part,
    Request,
    RequestTimeoutError,
    ResponderLostError,
    Result,
)

RESPONDER = """
import asyncio, sys
from trunkline import GrpcMessageBus

async def work(request):
    yield "begun"
    if request.payload["n"] == "done":
        return
    await asyncio.Event().wait()

async def main():
    async with GrpcMessageBus(sys.argv[1]) as bus:
        await bus.respond(sys.argv[2], work, group="workers", name=sys.argv[3])
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
ASKER = """
import asyncio, sys
from trunkline import AgentMessage, GrpcMessageBus

async def main():
    async with GrpcMessageBus(sys.argv[1]) as bus:
        message = AgentMessage(message_type="x", sender_id="asker", payload={"n": 1})
        outlives = sys.argv[3] == "outlives"
        async for event in bus.request_stream(sys.argv[2], message, 60, outlives_asker=outlives):
            print(type(event).__name__, flush=True)

asyncio.run(main())
"""


@pytest.fixture(params=["grpc", "sidecar"])
def address(request: pytest.FixtureRequest) -> str:
    """Of a bus, and of a sidecar before it."""
    found: str = request.getfixturevalue(ADDRESS_OF[request.param])
    return found


@pytest.fixture
def channel() -> str:
    """A channel of this test alone."""
    return f"lives:{uuid4().hex}"


@asynccontextmanager
async def program(code: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that has said that it is ready; killed in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            assert await process.stdout.readline()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def begun(bus: GrpcMessageBus, channel: str, **wished: object) -> AsyncGenerator[LifeEvent, None]:
    """The events of a request behind its first part."""
    events = bus.request_stream(channel, numbered(1), PATIENCE, **wished)
    assert isinstance(await anext(events), Accepted)
    assert isinstance(await anext(events), Part)
    return events


async def test_the_responder_is_killed(address: str, channel: str) -> None:
    """RESPONDER_LOST at once, with its name; of `request` and of `request_stream`."""
    async with GrpcMessageBus(address) as bus, program(RESPONDER, address, channel, "agent-7") as responder:
        events = await begun(bus, channel)
        responder.kill()
        async with asyncio.timeout(PATIENCE / 2):  # long before the request's own deadline
            with pytest.raises(ResponderLostError) as caught:
                await anext(events)
        assert caught.value.details["responder"] == "agent-7"
        assert caught.value.details["channel"] == channel


async def test_the_responder_is_killed_and_the_request_may_be_repeated(address: str, channel: str) -> None:
    """Another member of the group begins anew: a second attempt."""
    async with (
        GrpcMessageBus(address) as bus,
        program(RESPONDER, address, channel, "first") as first,
    ):
        events = await begun(bus, channel, repeatable=True)
        async with program(RESPONDER, address, channel, "second"):
            first.kill()
            async with asyncio.timeout(PATIENCE):
                again = await anext(events)
                assert isinstance(again, Accepted)
                assert (again.responder, again.attempt) == ("second", 2)
                assert isinstance(await anext(events), Part)
        with pytest.raises(ResponderLostError):  # nobody is left
            async with asyncio.timeout(PATIENCE):
                await anext(events)


async def test_a_rollout_is_waited_for(address: str, channel: str) -> None:
    """Killed with nobody else there: one that waits for a responder and may be repeated goes to the next one."""
    async with GrpcMessageBus(address) as bus:
        async with program(RESPONDER, address, channel, "old") as old:
            events = await begun(bus, channel, repeatable=True, wait_for_responder=True)
            old.kill()
            await old.wait()
        async with program(RESPONDER, address, channel, "new"), asyncio.timeout(PATIENCE):
            again = await anext(events)
            assert isinstance(again, Accepted)
            assert (again.responder, again.attempt) == ("new", 2)


async def test_the_responder_stands_still(address: str, channel: str) -> None:
    """SIGSTOP: no sign of life comes, so its idle timeout is over; alive, it would have given some."""
    async with GrpcMessageBus(address) as bus, program(RESPONDER, address, channel, "agent") as responder:
        events = await begun(bus, channel, idle_timeout=3.0)
        responder.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(RequestTimeoutError) as caught:
                async with asyncio.timeout(PATIENCE / 2):
                    await anext(events)
        finally:
            responder.send_signal(signal.SIGCONT)
        assert caught.value.details["idle_timeout_seconds"] == 3.0
        # Awake again, it hears that its request is over, and serves the next one.
        async with asyncio.timeout(PATIENCE):
            done = [event async for event in bus.request_stream(channel, numbered("done"), PATIENCE)]
        assert isinstance(done[-1], Result)


async def test_the_bus_is_killed(start_program: StartProgram, channel: str) -> None:
    """Who asked hears BUS_DISCONNECTED; the handler is cancelled; both are there again for the next request."""
    bus_program = start_program("bus")
    called_off = asyncio.Event()
    requests = 0

    async def work(request: Request) -> dict[str, int]:
        nonlocal requests
        requests += 1
        if requests > 1:
            return {"n": requests}
        try:
            await asyncio.Event().wait()
        finally:
            assert request.is_called_off
            called_off.set()
        raise AssertionError

    async with GrpcMessageBus(bus_program.address) as bus, GrpcMessageBus(bus_program.address) as agent:
        await agent.respond(channel, work)
        events = bus.request_stream(channel, numbered(1), PATIENCE)
        await anext(events)
        bus_program.kill()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(BusDisconnectedError):
                await anext(events)
            await called_off.wait()
            again = asyncio.ensure_future(bus.request(channel, numbered(2), PATIENCE, wait_for_responder=True))
            bus_program.start()
            assert (await again).payload == {"n": 2}


@pytest.mark.parametrize("outlives", ["cancels", "outlives"])
async def test_the_asker_is_killed(address: str, channel: str, outlives: str) -> None:
    """The handler is cancelled at once; of a request that outlives its asker it is not."""
    begun, called_off, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    finished: list[bool] = []

    async def work(request: Request) -> None:
        begun.set()
        try:
            await go_on.wait()
            finished.append(request.is_called_off)
        except asyncio.CancelledError:
            called_off.set()
            raise

    async with GrpcMessageBus(address) as agent:
        await agent.respond(channel, work)
        async with program(ASKER, address, channel, outlives) as asker, asyncio.timeout(PATIENCE):
            await begun.wait()
            asker.kill()
            await asker.wait()
            if outlives == "cancels":
                await called_off.wait()
                return
            pending = (await agent.statistics()).pending_requests
            assert pending >= 1
            go_on.set()
            while not finished:
                await agent.flush()
        assert finished == [False]
        assert not called_off.is_set()
