"""Calls on the generated stubs, for what the public client does not show."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc import aio

from trunkline.errors import BusDisconnectedError, StateDisconnectedError
from trunkline.line import CHANNEL_OPTIONS
from trunkline.status import error_from_rpc
from trunkline.v1 import bus_pb2_grpc, state_pb2_grpc

CALL_SECONDS = 10.0
"""What a service gets to answer a question about itself."""


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
