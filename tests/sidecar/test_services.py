"""The two services through the sidecar, with real bus, state and sidecar processes."""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from grpc import aio

from tests.patience import PATIENCE, Stopwatch
from tests.programs import RunningProgram, health
from trunkline.bus.grpc.bus import GrpcMessageBus
from trunkline.errors import BusDisconnectedError, NoRespondersError, RequestTimeoutError, TrunklineError
from trunkline.models import AgentMessage
from trunkline.v1 import bus_pb2, bus_pb2_grpc, state_pb2, state_pb2_grpc
from trunkline.wire.status import error_from_rpc

SERVICES = ("trunkline.v1.BusService", "trunkline.v1.StateService")


def message(**fields: object) -> AgentMessage:
    return AgentMessage(**({"message_type": "control", "sender_id": "tester"} | fields))


async def test_the_client_works_through_the_sidecar(sidecar_address: str) -> None:
    """Publish, subscribe and request, with the same errors as at the bus itself."""
    channel = f"test:{uuid.uuid4()}"
    async with GrpcMessageBus(sidecar_address) as bus:

        async def answer(came: AgentMessage) -> None:
            if came.payload != {"quiet": True}:
                await bus.publish(channel + ":answers", came.create_response("me", "feedback", {"got": came.payload}))

        with pytest.raises(NoRespondersError):
            await bus.request(channel, message(), timeout=5)
        await bus.subscribe(channel, answer)
        assert (await bus.request(channel, message(payload={"a": 1}), timeout=5)).payload == {"got": {"a": 1}}
        with pytest.raises(RequestTimeoutError) as late:
            await bus.request(channel, message(payload={"quiet": True}), timeout=0.2)
        assert late.value.details["channel"] == channel


async def test_every_kind_of_call_passes(sidecar_address: str) -> None:
    """Unary, both-way streams and a server stream, of both services, by the public stubs."""
    name = f"test:{uuid.uuid4()}"
    id = f"agent-{uuid.uuid4()}"
    async with aio.insecure_channel(sidecar_address) as channel:
        bus = bus_pb2_grpc.BusServiceStub(channel)
        subscription = bus.Subscribe()
        await subscription.write(bus_pb2.SubscribeRequest(start=bus_pb2.SubscribeRequest.Start(pattern=name)))
        assert (await subscription.read()).WhichOneof("frame") == "started"
        await subscription.done_writing()  # a caller that half-closes keeps its stream
        publish = bus_pb2.PublishRequest(channel=name, messages=[{"json": '{"n":1}', "message_type": "x"}])
        assert (await bus.Publish(publish, timeout=5)).receipts[0].sequence > 0
        stream = bus.PublishStream()
        await stream.write(bus_pb2.PublishStreamRequest(publish=publish))
        assert (await stream.read()).WhichOneof("frame") == "published"
        await stream.done_writing()
        for _ in range(2):
            assert (await subscription.read()).deliveries.messages[0].json == '{"n":1}'
        subscription.cancel()

        state = state_pb2_grpc.StateServiceStub(channel)
        watch = state.Watch(state_pb2.WatchRequest(kinds=[state_pb2.RECORD_KIND_AGENT_STATE], id=id))
        assert (await watch.read()).WhichOneof("frame") == "synced"
        saved = await state.Save(state_pb2.SaveRequest(agent_state={"agent_id": id, "agent_type": "coding"}), timeout=5)
        assert (await watch.read()).record.revision == saved.revision
        watch.cancel()


async def test_errors_are_the_same_as_without_a_sidecar(sidecar_address: str, bus_address: str) -> None:
    """Status, message and ErrorInfo come back unchanged."""
    requests = [
        bus_pb2.PublishRequest(channel="a::b", messages=[{"json": "{}"}]),
        bus_pb2.PublishRequest(channel="a"),
        bus_pb2.PublishRequest(channel="a", messages=[{"json": "x" * 5_000_000}]),
    ]
    found: dict[str, list[object]] = {}
    for address in (sidecar_address, bus_address):
        async with aio.insecure_channel(address, options=[("grpc.max_send_message_length", 2**26)]) as channel:
            stub = bus_pb2_grpc.BusServiceStub(channel)
            for request in requests:
                with pytest.raises(aio.AioRpcError) as failed:
                    await stub.Publish(request, timeout=5)
                error = error_from_rpc(failed.value)
                found.setdefault(address, []).append((failed.value.code(), error.to_dict()))
    assert found[sidecar_address] == found[bus_address]


async def test_a_killed_upstream_is_said_and_comes_back(
    killable_sidecar: RunningProgram, killable_bus: RunningProgram
) -> None:
    """SIGKILL of the bus: pending calls fail with BUS_DISCONNECTED, health says so per service; then all recovers."""
    address = killable_sidecar.address
    name = f"test:{uuid.uuid4()}"
    async with GrpcMessageBus(address) as bus:
        came: asyncio.Queue[AgentMessage] = asyncio.Queue()
        await bus.subscribe(name, came.put)
        pending = asyncio.create_task(bus.request(name, message(), timeout=20))
        await asyncio.wait_for(came.get(), PATIENCE)
        await asyncio.to_thread(killable_bus.kill)
        with pytest.raises(BusDisconnectedError):
            await asyncio.wait_for(pending, PATIENCE)
        await _until_health(address, SERVICES[0], "NOT_SERVING")
        assert await asyncio.to_thread(health, address, SERVICES[1]) == "SERVING"
        assert await asyncio.to_thread(health, address) == "SERVING"
        async with aio.insecure_channel(address) as channel:
            with pytest.raises(aio.AioRpcError) as failed:
                await bus_pb2_grpc.BusServiceStub(channel).GetStats(bus_pb2.GetStatsRequest(), timeout=1)
            assert error_from_rpc(failed.value).error_code in ("BUS_DISCONNECTED", "REQUEST_TIMEOUT")
            waiting = asyncio.create_task(asyncio.to_thread(killable_bus.restart))
            await waiting
            await _until_health(address, SERVICES[0], "SERVING")
            await bus_pb2_grpc.BusServiceStub(channel).GetStats(bus_pb2.GetStatsRequest(), timeout=5)
        deadline = time.monotonic() + 15
        while came.empty():
            assert time.monotonic() < deadline
            with suppress(TrunklineError):
                await bus.publish(name, message(payload={"after": True}))
            await asyncio.sleep(0.05)
        assert came.get_nowait().payload == {"after": True}


async def test_a_call_waits_a_little_for_its_upstream(
    killable_sidecar: RunningProgram, killable_state: RunningProgram
) -> None:
    """A call during a quick restart succeeds instead of failing."""
    await asyncio.to_thread(killable_state.kill)
    await _until_health(killable_sidecar.address, SERVICES[1], "NOT_SERVING")
    restart = asyncio.create_task(asyncio.to_thread(killable_state.restart))
    async with aio.insecure_channel(killable_sidecar.address) as channel:
        stub = state_pb2_grpc.StateServiceStub(channel)
        tries = 0
        while True:
            tries += 1
            try:
                await stub.GetStateStats(state_pb2.GetStateStatsRequest(), timeout=10)
                break
            except aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or tries > 10:
                    raise
    await restart
    assert tries <= 5


async def test_a_drain_ends_streams_with_unavailable(killable_sidecar: RunningProgram) -> None:
    """SIGTERM: long streams are told to go elsewhere, and the program ends with 0."""
    async with aio.insecure_channel(killable_sidecar.address) as channel:
        subscription = bus_pb2_grpc.BusServiceStub(channel).Subscribe()
        await subscription.write(bus_pb2.SubscribeRequest(start=bus_pb2.SubscribeRequest.Start(pattern=">")))
        await subscription.read()
        stopping = asyncio.create_task(asyncio.to_thread(killable_sidecar.stop))
        with suppress(aio.AioRpcError):
            while await subscription.read() is not aio.EOF:
                continue
        assert await subscription.code() is grpc.StatusCode.UNAVAILABLE
        assert await stopping == 0


def test_an_idle_sidecar_costs_next_to_nothing(killable_sidecar: RunningProgram) -> None:
    """Under 1% of a core and under 80 MB, with clients connected to neither socket."""
    pid = killable_sidecar.pid

    def ticks() -> int:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    Stopwatch(0, 3, ticks).measure(lambda: time.sleep(2))  # of 200 ticks two at most
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    assert resident < 80 * 1024 * 1024


async def _until_health(address: str, service: str, wanted: str) -> None:
    deadline = time.monotonic() + 10
    while await asyncio.to_thread(health, address, service) != wanted:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
