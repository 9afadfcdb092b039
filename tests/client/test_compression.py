"""Compression: what goes over the network shrinks, both ways, where client and service agree; and nothing else does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

import grpc
import grpc.aio
import pytest

from tests.client.relay import Relay, relay
from tests.conftest import StartProgram
from tests.contract.inbox import Inbox
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline import (
    AgentMessage,
    AgentState,
    ChangeType,
    GrpcMessageBus,
    GrpcStateManager,
    TaskResult,
    TrunklineError,
    sync,
)

Compression = Literal["gzip"] | None

TEXT = Path(__file__).read_text() * 8
"""Of the kind that agents send each other: about 40 KB of source."""
SHARE = 2
"""Such text takes less than one part of so many."""


@pytest.fixture
def compressing_bus(start_program: StartProgram) -> RunningProgram:
    """A bus that takes compressed calls."""
    return start_program("bus", "--compression", "gzip")


@pytest.fixture
def compressing_state(start_program: StartProgram, tmp_path: Path) -> RunningProgram:
    """A state service that does."""
    return start_program("state", "--engine", "sqlite", "--path", str(tmp_path / "state.db"), "--compression", "gzip")


async def _ask(bus: GrpcMessageBus) -> None:
    """A request and its reply over one connection: the text goes up twice, and comes down twice."""

    async def echo(message: AgentMessage) -> None:
        await bus.publish("answers", message.create_response("me", "echo", message.payload))

    await bus.subscribe("questions", echo)
    reply = await bus.request("questions", AgentMessage(message_type="echo", sender_id="me", payload={"text": TEXT}))
    assert reply.payload == {"text": TEXT}


def _shrank(passed: Relay, times: int) -> tuple[bool, bool]:
    """Whether what went up, and what came down, is less than so many texts' share."""
    bound = times * len(TEXT) // SHARE
    return passed.from_client < bound, passed.from_service < bound


@pytest.mark.parametrize(("compression", "shrank"), [("gzip", (True, True)), (None, (False, False))])
async def test_messages(compressing_bus: RunningProgram, compression: Compression, shrank: tuple[bool, bool]) -> None:
    """Where the client asks, what it sends and what it is sent; where it does not ask, neither."""
    async with relay(compressing_bus.address) as passed:
        async with GrpcMessageBus(passed.address, compression=compression) as bus:
            await _ask(bus)
        assert _shrank(passed, 2) == shrank


@pytest.mark.parametrize(("compression", "shrank"), [("gzip", (True, True)), (None, (False, False))])
async def test_records(compressing_state: RunningProgram, compression: Compression, shrank: tuple[bool, bool]) -> None:
    """Saved, found, listed and watched."""
    async with relay(compressing_state.address) as passed:
        async with GrpcStateManager(passed.address, compression=compression) as state:
            await state.save_task_result(
                TaskResult(task_id="t", agent_id="a", status="completed", output_data={"source": TEXT})
            )
            found = await state.get_task_result("t")
            assert found is not None
            assert await state.list_task_results() == [found]
            async for change in state.watch("task_result"):
                assert change.record in (found, None)
                if change.type is ChangeType.SYNCED:
                    break
        assert _shrank(passed, 1) == shrank


async def test_dead_letters(compressing_bus: RunningProgram) -> None:
    """What is fetched beside the stream shrinks, too."""
    async with GrpcMessageBus(compressing_bus.address) as bus:
        async with asyncio.timeout(PATIENCE):
            await bus.publish(
                "tasks", AgentMessage(message_type="t", sender_id="me", payload={"text": TEXT}), stored=True
            )
            async for task in bus.messages("tasks", durable="coders", start="all"):
                await task.terminate("refused")
                break
    async with relay(compressing_bus.address) as passed:
        async with GrpcMessageBus(passed.address, compression="gzip") as bus:
            (letter,) = [each async for each in bus.dead_letters()]
        assert letter.message.payload == {"text": TEXT}
        assert _shrank(passed, 1) == (True, True)


async def test_through_a_sidecar(
    start_program: StartProgram, socket_dir: Path, compressing_bus: RunningProgram
) -> None:
    """An agent on a UNIX socket beside it asks; its sidecar compresses the way over the network, both ways."""
    async with relay(compressing_bus.address) as passed:
        files = ("--socket-path", f"{socket_dir}/line.sock", "--store-path", f"{socket_dir}/sidecar.db")
        address = f"unix:{socket_dir}/sidecar.sock"
        sidecar = await asyncio.to_thread(
            start_program, "sidecar", "--bus-address", passed.address, *files, address=address
        )
        async with GrpcMessageBus(sidecar.address, compression="gzip") as bus:
            await _ask(bus)
        assert _shrank(passed, 2) == (True, True)


async def test_the_synchronous_face(compressing_bus: RunningProgram) -> None:
    """It has the option, too."""
    inbox = Inbox()
    async with GrpcMessageBus(compressing_bus.address) as listener, relay(compressing_bus.address) as passed:
        await listener.subscribe("questions", inbox)

        def publish() -> None:
            with sync.MessageBus(passed.address, compression="gzip") as bus:
                bus.publish("questions", AgentMessage(message_type="t", sender_id="me", payload={"text": TEXT}))

        await asyncio.to_thread(publish)
        (message,) = await inbox.have(1)
        assert message.payload == {"text": TEXT}
        assert _shrank(passed, 1) == (True, True)


@pytest.mark.parametrize("kind", [GrpcMessageBus, GrpcStateManager])
async def test_a_service_that_does_not_allow_it_says_so(kind: Any, bus_address: str, state_address: str) -> None:
    """When the client connects; who asks for nothing is served."""
    address = bus_address if kind is GrpcMessageBus else state_address
    with pytest.raises(TrunklineError, match="'gzip' is disabled"):
        await kind(address, compression="gzip").connect()
    async with kind(address) as client:
        assert client.is_connected


async def test_a_small_frame_that_unpacks_to_much_costs_nothing(start_program: StartProgram) -> None:
    """A service that does not allow compression refuses it unread: 100 MB of zeros are 100 KB on the wire."""
    bus = start_program("bus")
    before = _peak_memory(bus.pid)
    async with grpc.aio.insecure_channel(
        bus.address, compression=grpc.Compression.Gzip, options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        call: Any = channel.stream_unary("/trunkline.v1.BusService/OpenStream")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(iter([bytes(100_000_000)]))
    assert caught.value.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INTERNAL)
    assert _peak_memory(bus.pid) - before < 50_000_000


def _peak_memory(pid: int) -> int:
    """Bytes that a process held in memory at the most."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.parametrize("kind", [GrpcMessageBus, GrpcStateManager])
async def test_another_kind_of_compression_is_refused_by_name(kind: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match="compression is 'zip', it must be 'gzip' or None"):
        kind("127.0.0.1:1", compression="zip")


async def test_small_things_arrive_as_they_are(compressing_state: RunningProgram) -> None:
    """What would not shrink is sent as it is."""
    async with GrpcStateManager(compressing_state.address, compression="gzip") as state:
        agent = AgentState(agent_id="é😀", agent_type="coding")
        await state.save_agent_state(agent)
        assert await state.get_agent_state("é😀") == agent
