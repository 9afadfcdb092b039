"""Calls on the generated stubs, for what the public client does not show."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc import aio

from trunkline.errors import BusDisconnectedError, StateDisconnectedError
from trunkline.v1 import bus_pb2_grpc, state_pb2_grpc
from trunkline.wire.status import error_from_rpc
from trunkline.wire.stream import CHANNEL_OPTIONS

CALL_SECONDS = 10.0
"""What a service gets to answer a question about itself."""
WORK_SECONDS = 300.0
"""What it gets for work on many messages at once."""


@asynccontextmanager
async def bus_stub(address: str) -> AsyncIterator[Any]:
    """The BusService. Raises what it says as a `TrunklineError`."""
    async with aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        try:
            yield bus_pb2_grpc.BusServiceStub(channel)
        except grpc.RpcError as error:
            raise error_from_rpc(error, BusDisconnectedError) from error


@asynccontextmanager
async def state_stub(address: str) -> AsyncIterator[Any]:
    """The StateService. Raises what it says as a `TrunklineError`."""
    async with aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        try:
            yield state_pb2_grpc.StateServiceStub(channel)
        except grpc.RpcError as error:
            raise error_from_rpc(error, StateDisconnectedError) from error


async def call_bus(address: str, name: str, request: Message, seconds: float = CALL_SECONDS) -> Any:
    """The answer to one unary call of the BusService. Raises as `bus_stub`."""
    async with bus_stub(address) as stub:
        return await getattr(stub, name)(request, timeout=seconds)


async def bus_pages(address: str, name: str, request: Any) -> AsyncGenerator[Any, None]:
    """The answers to a call that lists in pages, from the request's own page to the last. Who wants smaller ones may
    change the request's page size between two. Raises as `bus_stub`."""
    async with bus_stub(address) as stub:
        while True:
            page = await getattr(stub, name)(request, timeout=CALL_SECONDS)
            yield page
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return
