"""Ways to store messages without a client library, which gives them no ids."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from grpc import aio

from tests.patience import PATIENCE
from tests.redis.traffic import Store
from tests.sidecar.outage import stub_of_address
from trunkline import AgentMessage, Receipt
from trunkline.bus.durable_codec import receipts_from_wire
from trunkline.v1 import bus_pb2
from trunkline.wire.status import error_from_item, error_from_rpc


def _publish(channel: str, message: AgentMessage) -> bus_pb2.PublishRequest:
    body = {"json": json.dumps(message.payload), "message_type": "work", "sender_id": "tests"}
    return bus_pb2.PublishRequest(channel=channel, messages=[body], durability=bus_pb2.DURABILITY_STORED)


@asynccontextmanager
async def by_calls(address: str) -> AsyncIterator[Store]:
    """Stores messages by a unary call for each."""
    async with stub_of_address(address) as stub:

        async def store(channel: str, message: AgentMessage) -> Receipt:
            try:
                answer = await stub.Publish(_publish(channel, message), timeout=PATIENCE)
            except aio.AioRpcError as status:
                raise error_from_rpc(status) from status
            return receipts_from_wire(answer)[0]

        yield store


class Pipeline:
    """One stream of publishes, which are answered in order."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._writing = asyncio.Lock()
        self._waiting: deque[asyncio.Future[Receipt]] = deque()

    async def store(self, channel: str, message: AgentMessage) -> Receipt:
        receipt: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        async with self._writing:
            self._waiting.append(receipt)
            await self._stream.write(bus_pb2.PublishStreamRequest(publish=_publish(channel, message)))
        return await receipt

    async def read(self) -> None:
        while (answer := await self._stream.read()) is not aio.EOF:
            receipt = self._waiting.popleft()
            if answer.WhichOneof("frame") == "published":
                receipt.set_result(receipts_from_wire(answer.published)[0])
            else:
                receipt.set_exception(error_from_item(answer.error))


@asynccontextmanager
async def by_stream(address: str) -> AsyncIterator[Store]:
    """Stores messages by one PublishStream, which lasts as long as the publisher."""
    async with stub_of_address(address) as stub, asyncio.TaskGroup() as tasks:
        stream = stub.PublishStream()
        pipeline = Pipeline(stream)
        reading = tasks.create_task(pipeline.read())
        yield pipeline.store
        await stream.done_writing()
        await reading
