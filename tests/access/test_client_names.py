"""What a client calls itself: shown to people, and nothing else."""

from __future__ import annotations

import os
from typing import Any

import grpc
import pytest

from tests.access.conftest import Serve
from trunkline import AgentMessage, AgentState, GrpcMessageBus, GrpcStateManager
from trunkline.v1 import bus_pb2, bus_pb2_grpc
from trunkline.wire.token import CLIENT, MAX_CLIENT_NAME_LENGTH


async def _ignore(message: AgentMessage) -> None: ...


async def test_a_name_is_shown_where_a_client_did_something(serve: Serve) -> None:
    """Beside its subscriptions and its address; of a record and a lease; of what it leased, and as responder."""
    async with (
        serve("bus") as address,
        serve("state") as state,
        GrpcMessageBus(address, client_name="työläinen 7") as bus,
        GrpcStateManager(state, client_name="työläinen 7") as records,
    ):
        await bus.subscribe("news", _ignore)
        (own,) = [each async for each in bus.subscriptions()]
        assert own.peer.startswith("ipv4:127.0.0.1:")
        assert own.peer.endswith(" [työläinen 7]")
        await records.save_agent_state(AgentState(agent_id="a", agent_type="x"))
        kept = await records.get_agent_state("a")
        assert kept is not None
        assert kept.written_by is not None
        assert kept.written_by.endswith(" [työläinen 7]")
        async with await records.acquire("l"):
            (lease,) = await records.list_leases()
            assert lease.holder == "työläinen 7"


async def test_without_a_name_it_is_the_host_and_the_process(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or what the environment says, which a name that is given stands before."""
    async with serve("bus") as address, GrpcMessageBus(address) as bus:
        await bus.subscribe("news", _ignore)
        (own,) = [each async for each in bus.subscriptions()]
        assert own.peer.endswith(f":{os.getpid()}]")
    monkeypatch.setenv("TRUNKLINE_CLIENT_NAME", "pod-1")
    assert GrpcMessageBus(address).client_name == "pod-1"
    assert GrpcMessageBus(address, client_name="mine").client_name == "mine"


@pytest.mark.parametrize("name", ["", "x" * (MAX_CLIENT_NAME_LENGTH + 1), "a\nb", "a\x1b[2J"])
def test_a_bad_name_is_refused(name: str) -> None:
    """By the client, before anything is sent."""
    for make in (GrpcMessageBus, GrpcStateManager):
        with pytest.raises(ValueError, match="client_name is "):
            make("127.0.0.1:1", client_name=name)


async def test_what_a_bare_client_says_is_shown_as_far_as_it_can_be(serve: Serve) -> None:
    """Cut, and without what cannot be printed: it fails no call, and proves nothing."""
    async with serve("bus") as address, grpc.aio.insecure_channel(address) as line:
        stub: Any = bus_pb2_grpc.BusServiceStub(line)
        stream = stub.Subscribe(metadata=((CLIENT, "%1b%5b2J" + "x" * 999),))
        await stream.write(bus_pb2.SubscribeRequest(start={"pattern": "news"}))
        await stream.read()
        (own,) = (await stub.ListSubscriptions(bus_pb2.ListSubscriptionsRequest())).subscriptions
        assert own.peer.partition(" ")[2] == "[[2J" + "x" * (MAX_CLIENT_NAME_LENGTH - 4) + "]"
        stream.cancel()
