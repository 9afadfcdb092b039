"""What several tests of a channel need."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.channel.clients import LineClient
from trunkline.message_channel import MessageChannel
from trunkline.sync import MessageBus


@pytest.fixture
def path(socket_dir: Path) -> str:
    """Where a channel's socket may be."""
    return f"{socket_dir}/c.sock"


@pytest.fixture
def channel(path: str) -> Iterator[MessageChannel]:
    """A channel on that socket; files with channels of other types say which."""
    with MessageChannel("unix_socket", path) as channel:
        yield channel


@pytest.fixture
def client(channel: MessageChannel, path: str) -> Iterator[LineClient]:
    """A client of that channel."""
    with LineClient(path) as client:
        yield client


@pytest.fixture
def name() -> str:
    """An owner's name of this test alone, since the bus is shared."""
    return f"owner-{uuid.uuid4()}"


@pytest.fixture
def bus(bus_address: str) -> Iterator[MessageBus]:
    with MessageBus(bus_address) as bus:
        yield bus
