"""Names come and go on the bus, and the bus comes and goes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.programs import RunningProgram
from trunkline.channels import agent_channel
from trunkline.errors import BusDisconnectedError, NoRespondersError, RequestTimeoutError
from trunkline.message_channel import MessageChannel
from trunkline.models import AgentMessage
from trunkline.sync import MessageBus


@pytest.fixture(params=["thread", "process", "unix_socket"])
def channel(request: pytest.FixtureRequest, path: str, bus_address: str, name: str) -> Iterator[MessageChannel]:
    with MessageChannel(request.param, path, name=name, address=bus_address) as channel:
        yield channel


def test_a_removed_endpoint_is_no_longer_listened_for(channel: MessageChannel, bus: MessageBus) -> None:
    """A request for it finds nobody; made again, it is there again."""
    agent_name = f"agent-{uuid.uuid4()}"
    for _ in range(2):
        agent = channel.endpoint(agent_name)
        bus.publish(agent_channel(agent_name), AgentMessage(message_type="status_update", sender_id="x"))
        assert agent.receive(10) is not None
        channel.remove(agent_name)
        until(lambda: _request(bus, agent_name) == "nobody is there")
    channel.close()
    channel.remove(agent_name)


def test_forwarding_comes_back_with_the_bus(killable_bus: RunningProgram, name: str) -> None:
    """After the bus was killed and started again, what is published reaches receive()."""
    with (
        MessageChannel("thread", name=name, address=killable_bus.address) as channel,
        MessageBus(killable_bus.address) as bus,
    ):
        killable_bus.restart()
        until(lambda: _request(bus, name) == "nobody answered")
        message = channel.receive(10)
        assert message is not None
        assert message.payload == "?"


def test_endpoints_come_and_go_while_the_bus_is_away(killable_bus: RunningProgram, name: str) -> None:
    """Neither waits for it for long, and closing does not either; when it is back, those that are there are heard."""
    address = killable_bus.address
    with MessageChannel("thread", name=name, address=address) as channel, MessageBus(address) as bus:
        killable_bus.kill()
        stays, goes, returns = (f"{name}-{which}" for which in ("stays", "goes", "returns"))
        for agent_name in (stays, goes, returns):
            channel.endpoint(agent_name)
        for agent_name in (goes, returns):
            channel.remove(agent_name)
        agents_there = [channel.endpoint(stays), channel.endpoint(returns)]
        killable_bus.restart()
        for agent in agents_there:
            until(lambda agent=agent: _request(bus, agent.name) == "nobody answered")  # type: ignore[misc]
            assert agent.receive(10) is not None
        until(lambda: _request(bus, goes) == "nobody is there")
        killable_bus.kill()
        channel.endpoint(f"{name}-late")


def until(condition: Callable[[], bool]) -> None:
    """Waits for what only the bus can make true; each look waits itself."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline


def _request(bus: MessageBus, name: str) -> str:
    """How a request ends that nobody answers."""
    asked = AgentMessage(message_type="control", sender_id="asker", payload={"payload": "?"})
    try:
        bus.request(agent_channel(name), asked, timeout=0.2)
    except RequestTimeoutError:
        return "nobody answered"
    except NoRespondersError:
        time.sleep(0.02)
        return "nobody is there"
    except BusDisconnectedError:
        time.sleep(0.02)
        return "the bus is away"
    return "it was answered"
