"""Answers of many records, as a client with gRPC's own limit of 4 MiB takes them, with the bounds of the program."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import aio

from tests.state.conftest import make_stock, make_store
from tests.state.samples import agent, workflow
from trunkline.limits import MAX_ANSWER_BYTES, MAX_BATCH_OPERATIONS, MAX_MESSAGE_BYTES, MAX_RECORD_ENTRIES
from trunkline.v1 import state_pb2 as wire
from trunkline.v1 import state_pb2_grpc
from trunkline.wire.status import error_from_rpc
from trunklined.rpc.errors import ErrorInterceptor
from trunklined.state.engines.engine import ANSWER_BYTES
from trunklined.state.engines.memory import MemoryEngine
from trunklined.state.records import History
from trunklined.state.store import Store, StoreLimits
from trunklined.state.wire.servicer import StateServicer

RECORDS = 60
METADATA = json.dumps({"x": "y" * 100_000})

Stub = state_pb2_grpc.StateServiceStub


@pytest.fixture
async def stub(socket_dir: Path) -> AsyncIterator[Stub]:
    """A store with sixty records of 100 kB, and a client that sets no limits."""
    engine = MemoryEngine(
        history=History(1_000, 10**9), page_bytes=ANSWER_BYTES, answer_bytes=ANSWER_BYTES, outbox=make_stock()
    )
    store = Store(engine, make_store(engine).watchers, StoreLimits(100_000, 10**9))
    await store.open()
    server = aio.server(interceptors=[ErrorInterceptor()], options=[("grpc.max_receive_message_length", 64 * 2**20)])
    StateServicer(store, MAX_MESSAGE_BYTES, 0.0).register(server)
    server.add_insecure_port(f"unix:{socket_dir}/s.sock")
    await server.start()
    async with aio.insecure_channel(f"unix:{socket_dir}/s.sock") as channel:
        stub = Stub(channel)
        for number in range(RECORDS):
            await stub.Save(wire.SaveRequest(agent_state=agent(f"big-{number:03}", metadata_json=METADATA)))
        yield stub
    await server.stop(0)
    await store.close()


async def test_pages_end_below_what_clients_take(stub: Stub) -> None:
    """With their envelope; all records come, page by page."""
    request, ids, sizes = wire.ListRequest(kind=wire.RECORD_KIND_AGENT_STATE, page_size=1_000), [], []
    while True:
        page = await stub.List(request)
        sizes.append(page.ByteSize())
        ids += [record.agent_state.agent_id for record in page.records]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert ids == [f"big-{number:03}" for number in range(RECORDS)]
    assert max(sizes) < MAX_ANSWER_BYTES
    assert len(sizes) == 2


async def test_a_batch_that_reads_too_much_is_answered_below_what_clients_take(stub: Stub) -> None:
    """What it reads beyond is refused by its outcome; as one transaction it is refused as a whole."""
    gets = [{"get": {"kind": 1, "id": f"big-{number:03}"}} for number in range(RECORDS)]
    answer = await stub.Batch(wire.BatchRequest(operations=gets))
    assert answer.ByteSize() < MAX_ANSWER_BYTES
    said = [outcome.WhichOneof("outcome") for outcome in answer.outcomes]
    assert said == ["got"] * said.count("got") + ["error"] * said.count("error")
    assert said.count("got") > 30
    assert {outcome.error.reason for outcome in answer.outcomes if outcome.HasField("error")} == {"OVERLOADED"}
    with pytest.raises(aio.AioRpcError) as caught:
        await stub.Batch(wire.BatchRequest(operations=gets, atomic=True))
    assert error_from_rpc(caught.value).error_code == "OVERLOADED"


async def test_ten_thousand_errors_are_answered_below_what_clients_take(stub: Stub) -> None:
    """Each keeps its reason and its code; where there is no room for more, the last ones lose their texts."""
    gets = [{"get": {"kind": 1, "id": f"{number:05}" + "é" * 507}} for number in range(MAX_BATCH_OPERATIONS)]
    answer = await stub.Batch(wire.BatchRequest(operations=gets))
    assert answer.ByteSize() < MAX_ANSWER_BYTES
    assert {(outcome.error.reason, outcome.error.code) for outcome in answer.outcomes} == {("NOT_FOUND", 5)}
    assert answer.outcomes[0].error.metadata["id"].startswith("00000")
    assert answer.outcomes[-1].error.message == "left out: the batch's answer is full"


async def test_the_first_read_is_answered_however_large(stub: Stub) -> None:
    """What can be saved can be got, alone or in a batch."""
    large = agent("large", metadata_json=json.dumps({"x": "y" * (ANSWER_BYTES + 1)}))
    await stub.Save(wire.SaveRequest(agent_state=large))
    for atomic in (True, False):
        gets = [{"get": {"kind": 1, "id": "large"}}]
        answer = await stub.Batch(wire.BatchRequest(operations=gets, atomic=atomic))
        assert answer.outcomes[0].got.record.agent_state == large
    page = await stub.List(wire.ListRequest(kind=wire.RECORD_KIND_AGENT_STATE, filter={"agent_id": "large"}))
    assert [record.agent_state.agent_id for record in page.records] == ["large"]


async def test_a_batch_of_too_many_operations_is_not_decoded(stub: Stub) -> None:
    """Millions of empty ones fit into a request of some megabytes."""
    for count in (MAX_BATCH_OPERATIONS + 1, 2_000_000):
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Batch(wire.BatchRequest(operations=[{}] * count))
        error = error_from_rpc(caught.value)
        assert (error.error_code, error.details["field"]) == ("INVALID_RECORD", "operations")


async def test_a_workflow_of_too_many_entries_is_refused(stub: Stub) -> None:
    """Each is checked, while everybody waits."""
    entries = ["{}"] * (MAX_RECORD_ENTRIES + 1)
    with pytest.raises(aio.AioRpcError) as caught:
        await stub.Save(wire.SaveRequest(workflow_state=workflow("w", error_log_json=entries)))
    error = error_from_rpc(caught.value)
    assert error.error_code == "INVALID_RECORD"
    assert str(MAX_RECORD_ENTRIES) in error.message
    await stub.Save(wire.SaveRequest(workflow_state=workflow("w", error_log_json=entries[1:])))
