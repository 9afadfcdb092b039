"""Who a record says wrote it: whoever was proved to call, by every call that writes; and nobody by saying so."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import grpc

from tests.access.conftest import Issuer, Serve
from tests.patience import PATIENCE
from trunkline import AgentState, ChangeType, GrpcStateManager, Save
from trunkline.v1 import state_pb2 as wire
from trunkline.v1 import state_pb2_grpc
from trunkline.wire.token import whose
from trunklined.access.identity import MAX_NAME_LENGTH, Identity
from trunklined.rpc.identity import PEER

Stub = state_pb2_grpc.StateServiceStub
AGENT = wire.RECORD_KIND_AGENT_STATE
LONGEST = "é" * MAX_NAME_LENGTH


def _save(id: str) -> wire.SaveRequest:
    return wire.SaveRequest(agent_state=wire.AgentState(agent_id=id, agent_type="x"))


async def _writer(stub: Any, id: str, token: Any, kind: Any = AGENT) -> str:
    answer = await stub.Get(wire.GetRequest(kind=kind, id=id), metadata=token)
    written_by: str = answer.record.written_by
    return written_by


async def test_the_identity_that_called_is_the_writer(serve: Serve, issuer: Issuer) -> None:
    """By a call alone, by a stream and by a batch of either; of a lease, too."""
    ann, bob = ((("authorization", f"Bearer {issuer.token(name)}"),) for name in ("ann", LONGEST))
    async with serve("state", **issuer.settings) as state, grpc.aio.insecure_channel(state) as line:
        stub: Any = Stub(line)
        await stub.Save(_save("alone"), metadata=ann)
        await stub.Batch(wire.BatchRequest(operations=[{"save": _save("many")}], atomic=True), metadata=ann)
        await stub.AcquireLease(wire.AcquireLeaseRequest(name="l", ttl={"seconds": 60}), metadata=ann)
        async with GrpcStateManager(state, token=issuer.token("ann")) as records:
            await records.save_agent_state(AgentState(agent_id="stream", agent_type="x"))
            await records.batch([Save(AgentState(agent_id="streamed", agent_type="x"))])
            for id in ("alone", "many", "stream", "streamed"):
                assert await _writer(stub, id, bob) == "ann"
            assert await _writer(stub, "l", bob, wire.RECORD_KIND_LEASE) == "ann"
            [lease] = await records.list_leases()
            assert lease.written_by == "ann"
            await records.touch("agent_state", "many", ttl=600)
        await stub.Save(_save("alone"), metadata=bob)
        assert await _writer(stub, "alone", ann) == LONGEST
        await stub.Touch(wire.TouchRequest(kind=AGENT, id="alone", ttl={"seconds": 600}), metadata=ann)
        assert await _writer(stub, "alone", ann) == LONGEST


async def test_an_end_names_who_made_it(serve: Serve, issuer: Issuer) -> None:
    """In the watch that tells it: a deletion, alone and on a stream, and what ends with a lease that is released."""
    ann, bob = ((("authorization", f"Bearer {issuer.token(name)}"),) for name in ("ann", "bob"))
    async with (
        serve("state", **issuer.settings) as state,
        grpc.aio.insecure_channel(state) as line,
        GrpcStateManager(state, token=issuer.token("bob")) as records,
    ):
        stub: Any = Stub(line)
        for id in ("alone", "stream"):
            await stub.Save(_save(id), metadata=ann)
        taken = await stub.AcquireLease(wire.AcquireLeaseRequest(name="l", ttl={"seconds": 60}), metadata=ann)
        hold = {"name": "l", "number": taken.lease.number}
        bound = _save("bound")
        bound.lease.CopyFrom(wire.Hold(**hold))
        revision = (await stub.Save(bound, metadata=ann)).revision
        await stub.Delete(wire.DeleteRequest(kind=AGENT, id="alone"), metadata=bob)
        await records.delete_agent_state("stream")
        await records.release_lease("l", taken.lease.number)
        told = {}
        watch = records.watch("agent_state", after_revision=revision)
        async with asyncio.timeout(PATIENCE), aclosing(watch) as changes:  # type: ignore[type-var]
            async for change in changes:
                if change.type is ChangeType.SYNCED:
                    break
                told[change.id] = change.written_by
        assert told == {"alone": "bob", "stream": "bob", "bound": "bob"}


async def test_who_proved_nothing_is_known_by_the_address(serve: Serve) -> None:
    """That the service sees: what a caller says of itself counts only where it is trusted."""
    async with serve("state") as state, grpc.aio.insecure_channel(state) as line:
        stub: Any = Stub(line)
        await stub.Save(_save("a"), metadata=((PEER, "ipv4:203.0.113.9:1"),))
        assert (await _writer(stub, "a", ())).startswith("ipv4:127.0.0.1:")


async def test_who_is_spoken_for_is_the_writer(serve: Serve, tmp_path: Any) -> None:
    """The own user's programs are trusted on the own socket: they say a name, or nobody's and an address."""
    async with serve("state", address=f"unix:{tmp_path}/s.sock") as state, grpc.aio.insecure_channel(state) as line:
        stub: Any = Stub(line)
        await stub.Save(_save("a"), metadata=(whose("agent-7"), (PEER, "ipv4:203.0.113.9:1")))
        assert await _writer(stub, "a", ()) == "agent-7"
        await stub.Save(_save("a"), metadata=(whose("anonymous"), (PEER, "ipv4:203.0.113.9:1")))
        assert await _writer(stub, "a", ()) == "ipv4:203.0.113.9:1"
        await stub.Save(_save("a"))
        assert (await _writer(stub, "a", ())).startswith("uid:")


def test_an_address_is_cut_where_it_is_long() -> None:
    """A name never is: none is longer."""
    assert Identity("anonymous", "anonymous", "x" * 1_000).principal == "x" * MAX_NAME_LENGTH
    assert Identity(LONGEST, "token", "y").principal == LONGEST
