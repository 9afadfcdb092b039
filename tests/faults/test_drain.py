"""What becomes of calls, streams and deliveries when a bus, or a sidecar before one, is stopped: real programs and
SIGTERM."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.bus.calls import message, publish, refused, subscribed
from tests.bus.durable.calls import ALL, holding, settle, store, store_all
from tests.bus.test_request_calls import asked, question
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import RunningProgram, health
from trunkline import AgentMessage, GrpcMessageBus
from trunkline.errors import BusDisconnectedError, TrunklineError
from trunkline.v1 import bus_pb2, bus_pb2_grpc, durable_pb2
from trunkline.wire.status import error_from_rpc

LONG = ("--drain-seconds", "300")
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE

BOTH = pytest.mark.parametrize("kind", ["bus", "sidecar"])


def start_kind(start_program: StartProgram, directory: Path, kind: str, *options: str) -> RunningProgram:
    """Starts a bus; returns it, or a sidecar before it, with options."""
    bus = start_program("bus", *(options if kind == "bus" else ()))
    if kind == "bus":
        return bus
    state = start_program("state", "--engine", "memory")
    upstreams = ("--bus-address", bus.address, "--state-address", state.address)
    files = ("--socket-path", "", "--store-path", f"{directory}/sidecar.db")
    return start_program("sidecar", *upstreams, *files, *options)


@asynccontextmanager
async def stub_of(program: RunningProgram) -> AsyncIterator[Any]:
    """A raw stub on a connection of its own."""
    async with grpc.aio.insecure_channel(program.address, options=[("grpc.use_local_subchannel_pool", 1)]) as line:
        yield bus_pb2_grpc.BusServiceStub(line)


async def drains(program: RunningProgram, stub: Any) -> None:
    """Asks a program to stop, and returns when it refuses new calls."""
    program.terminate()
    async with asyncio.timeout(PATIENCE):
        while True:
            call = stub.GetStats(bus_pb2.GetStatsRequest())
            if await call.code() is not grpc.StatusCode.OK:
                await refused(call, UNAVAILABLE, "BUS_DISCONNECTED")
                return


async def ended(program: RunningProgram) -> None:
    assert await asyncio.to_thread(program.process.wait, PATIENCE) == 0


async def to_its_end(stream: Any) -> None:
    """Reads a stream; raises the status that it ends with."""
    while await stream.read() is not grpc.aio.EOF:
        continue


async def until_disconnected(call: Callable[[], Awaitable[object]], outcomes: Counter[str], kind: str) -> None:
    """Calls again and again, until it fails; counts what became of it."""
    while True:
        try:
            await call()
            outcomes[f"{kind}: OK"] += 1
        except grpc.aio.AioRpcError as status:
            outcomes[f"{kind}: {status.code().name} {error_from_rpc(status, TrunklineError).error_code}"] += 1
            return
        except TrunklineError as error:
            outcomes[f"{kind}: {error.error_code}"] += 1
            return


@BOTH
async def test_under_load_all_is_finished_or_refused_with_the_reason(
    start_program: StartProgram, socket_dir: Path, kind: str
) -> None:
    """32 callers, unary and of the client library: each call is answered, or ends with UNAVAILABLE and our reason. Two
    requests that are under way take longer than all that, and are answered."""
    program = start_kind(start_program, socket_dir, kind, *LONG)
    address = program.address
    outcomes: Counter[str] = Counter()
    all_refused = asyncio.Event()

    async with stub_of(program) as stub, GrpcMessageBus(address) as responder, GrpcMessageBus(address) as asker:
        slow = asyncio.Semaphore(0)

        async def reply(came: AgentMessage) -> None:
            if came.channel == "slow":
                slow.release()
                await all_refused.wait()
            await responder.publish("replies", came.create_response("r", "feedback", {"to": came.channel}))

        await responder.subscribe("quick", reply, concurrency=32)
        await responder.subscribe("slow", reply, concurrency=2)

        async def call(by: str) -> None:
            if by == "library":
                async with GrpcMessageBus(address) as bus:
                    await until_disconnected(
                        lambda: bus.request("quick", AgentMessage(message_type="control", sender_id="a")),
                        outcomes,
                        by,
                    )
                return
            async with stub_of(program) as own:
                calls: dict[str, Callable[[], Awaitable[object]]] = {
                    "publish": lambda: publish(own, "nobody", message()),
                    "request": lambda: own.Request(asked("quick", message(message_type="control")), timeout=PATIENCE),
                }
                await until_disconnected(calls[by], outcomes, by)

        unary = [asyncio.ensure_future(call(by)) for by in ("publish",) * 16 + ("request",) * 8]
        library = [asyncio.ensure_future(call("library")) for _ in range(8)]
        raw = stub.Request(asked("slow", message(message_type="control")), timeout=2 * PATIENCE)
        of_library = asyncio.ensure_future(
            asker.request("slow", AgentMessage(message_type="control", sender_id="a"), timeout=2 * PATIENCE)
        )
        async with asyncio.timeout(PATIENCE):
            await slow.acquire()
            await slow.acquire()
            while any(outcomes[f"{by}: OK"] < 50 for by in ("publish", "request", "library")):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await drains(program, stub)
        assert await asyncio.to_thread(health, address) == "NOT_SERVING"
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*unary)
        all_refused.set()
        assert (await raw).message.correlation_id
        assert (await of_library).payload == {"to": "slow"}
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*library)  # those of a sidecar's go on until its streams end
        await ended(program)
    assert {key: count for key, count in outcomes.items() if not key.endswith("OK")} == {
        "publish: UNAVAILABLE BUS_DISCONNECTED": 16,
        "request: UNAVAILABLE BUS_DISCONNECTED": 8,
        "library: BUS_DISCONNECTED": 8,
    }


async def test_health_says_so_before_anything_is_refused(start_program: StartProgram) -> None:
    """While the bus is only unready, calls and new requests are served."""
    program = start_program("bus", "--unready-seconds", "5")
    async with stub_of(program) as stub, subscribed(stub, "asked") as responder:
        await publish(stub, "nobody", message())
        program.terminate()
        await asyncio.to_thread(program.wait_for, '"stopping"')
        assert await asyncio.to_thread(health, program.address) == "NOT_SERVING"
        request = asyncio.ensure_future(_await(stub.Request(asked("asked"), timeout=PATIENCE)))
        came = await question(responder)
        await publish(stub, "replies", message("reply", correlation_id=came.correlation_id))
        assert (await request).message.json == "reply"
        await ended(program)


async def _await(call: Any) -> Any:
    return await call


@pytest.mark.parametrize("way", ["Publish", "stored Publish", "PublishStream", "OpenStream"])
@BOTH
async def test_a_reply_is_let_in_by_every_way(
    start_program: StartProgram, socket_dir: Path, kind: str, way: str
) -> None:
    """What else is published by unary calls is refused, and so are new requests: by the bus on whatever they come, by
    the sidecar those that are calls of their own."""
    program = start_kind(start_program, socket_dir, kind, *LONG)
    async with stub_of(program) as stub, GrpcMessageBus(program.address) as bus, subscribed(stub, "asked") as responder:
        stream = stub.PublishStream()
        await stream.write(bus_pb2.PublishStreamRequest(publish={"channel": "nobody", "messages": [message()]}))
        await asyncio.wait_for(stream.read(), PATIENCE)
        request = asyncio.ensure_future(_await(stub.Request(asked("asked"), timeout=2 * PATIENCE)))
        came = await question(responder)
        await drains(program, stub)
        await refused(publish(stub, "nobody", message()), UNAVAILABLE, "BUS_DISCONNECTED")
        await refused(stub.Request(asked("asked"), timeout=PATIENCE), UNAVAILABLE, "BUS_DISCONNECTED")
        if kind == "bus":
            await refused(publish(stub, "nobody", message(correlation_id="x")), UNAVAILABLE, "BUS_DISCONNECTED")
            with pytest.raises(BusDisconnectedError, match="shutting down"):
                await bus.request("asked", AgentMessage(message_type="x", sender_id="a"), timeout=PATIENCE)
        reply = message("reply", correlation_id=came.correlation_id)
        match way:
            case "Publish":
                assert await publish(stub, "replies", reply)
            case "stored Publish":
                assert await store(stub, "replies", reply)
            case "PublishStream":
                await stream.write(bus_pb2.PublishStreamRequest(publish={"channel": "replies", "messages": [reply]}))
            case "OpenStream":
                said = AgentMessage(message_type="x", sender_id="b", correlation_id=came.correlation_id)
                await bus.publish("replies", said)
        assert (await request).channel == "replies"
        await ended(program)
        await refused(to_its_end(responder.call), UNAVAILABLE, "BUS_DISCONNECTED")
        await refused(to_its_end(stream), UNAVAILABLE, "BUS_DISCONNECTED")


@BOTH
async def test_what_is_not_answered_within_the_drain_says_why(
    start_program: StartProgram, socket_dir: Path, kind: str
) -> None:
    """Unary and on a stream: UNAVAILABLE with the reason; other streams too."""
    program = start_kind(start_program, socket_dir, kind, "--drain-seconds", "0.5")
    async with stub_of(program) as stub, GrpcMessageBus(program.address) as bus, subscribed(stub, "asked") as responder:
        raw = asyncio.ensure_future(_await(stub.Request(asked("asked"), timeout=2 * PATIENCE)))
        await question(responder)
        of_library = asyncio.ensure_future(
            bus.request("asked", AgentMessage(message_type="x", sender_id="a"), timeout=2 * PATIENCE)
        )
        await question(responder)
        program.terminate()
        await refused(raw, UNAVAILABLE, "BUS_DISCONNECTED")
        with pytest.raises(BusDisconnectedError):
            await of_library
        await refused(to_its_end(responder.call), UNAVAILABLE, "BUS_DISCONNECTED")
        await ended(program)


async def test_durable_subscribers_are_handed_nothing_more_and_acks_are_taken(
    start_program: StartProgram, socket_dir: Path
) -> None:
    """What is stored meanwhile comes after the restart, at the first attempt; what was acked, on a stream or by a call,
    does not come again."""
    program = start_program("bus", *LONG, "--path", f"{socket_dir}/bus.db")
    async with stub_of(program) as stub, subscribed(stub, "asked") as responder:
        stream = stub.PublishStream()
        async with holding(stub, "d", "work", credit=100, position=ALL) as first:
            await store_all(stub, "work", [1, 2])
            by_stream, by_call = await first.take(2)
            request = asyncio.ensure_future(_await(stub.Request(asked("asked"), timeout=2 * PATIENCE)))
            came = await question(responder)
            await drains(program, stub)
            await stream.write(
                bus_pb2.PublishStreamRequest(
                    publish={"channel": "work", "messages": [message(3)], "durability": "DURABILITY_STORED"}
                )
            )
            assert (await asyncio.wait_for(stream.read(), PATIENCE)).published.receipts[0].sequence
            await settle(stub, "d", ack=durable_pb2.Ack(sequences=[by_call.sequence], attempt=by_call.attempt))
            await first.say("ack", [by_stream])
            await publish(stub, "replies", message("reply", correlation_id=came.correlation_id))
            await request
            assert error_from_rpc(await first.ended()).error_code == "BUS_DISCONNECTED"
            assert first.got == []
        await ended(program)
    await asyncio.to_thread(program.restart)
    async with stub_of(program) as stub, holding(stub, "d", "work", credit=100) as second:
        (got,) = await second.take(1)
        assert (got.n, got.attempt) == ("3", 1)


async def test_clients_come_back_to_the_next_bus(start_program: StartProgram) -> None:
    """A subscription of the library goes on after the stop, by itself."""
    program = start_program("bus")
    back = asyncio.Event()
    async with GrpcMessageBus(program.address, on_reconnected=back.set) as bus:
        inbox: asyncio.Queue[AgentMessage] = asyncio.Queue()
        await bus.subscribe("news", inbox.put)
        assert await asyncio.to_thread(program.stop) == 0
        await asyncio.to_thread(program.restart)
        await asyncio.wait_for(back.wait(), PATIENCE)
        await bus.publish("news", AgentMessage(message_type="x", sender_id="a", payload={"n": 1}))
        assert (await asyncio.wait_for(inbox.get(), PATIENCE)).payload == {"n": 1}
