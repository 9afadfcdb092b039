"""What is open when permissions change: it loses exactly what is no longer allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.access.conftest import Issuer
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from trunkline import (
    AgentMessage,
    AgentState,
    AgentStatus,
    GrpcMessageBus,
    GrpcStateManager,
    MessageType,
    PermissionDeniedError,
)

Write = Callable[[str], Path]
NEWS = AgentMessage(message_type=MessageType.STATUS_UPDATE, sender_id="x", payload={})

WIDE = """
[[allow]]
who = ["agent-7"]
publish = ["a:*", "b:*"]
subscribe = ["a:*", "b:*", "d:*"]
respond = ["r:*"]
request = ["r:*"]
durable.create = ["jobs"]
durable.join = ["jobs"]
durable.settle = ["jobs"]
inspect = ["stats"]
"""
NARROW = """
[[allow]]
who = ["agent-7"]
publish = ["a:*"]
subscribe = ["a:*", "d:*"]
inspect = ["stats"]
"""


@pytest.fixture
def policy(access_file: Write) -> Path:
    return access_file(WIDE)


async def test_a_connection_loses_exactly_what_is_no_longer_allowed(
    start_program: StartProgram, issuer: Issuer, policy: Path, access_file: Write
) -> None:
    """Subscriptions end with an error of their own, the others go on, on the same stream."""
    program = start_program("bus", "--engine", "memory", *issuer.options, "--access-file", str(policy))
    ended: dict[str, PermissionDeniedError] = {}
    all_ended = asyncio.Event()
    heard: asyncio.Queue[str] = asyncio.Queue()
    lost: list[Any] = []

    async def hear(message: AgentMessage) -> None:
        heard.put_nowait(message.sender_id)

    def end(name: str) -> Callable[[Any], None]:
        def note(error: Any) -> None:
            ended[name] = error
            if ended.keys() == {"b", "jobs", "r"}:
                all_ended.set()

        return note

    bus = GrpcMessageBus(program.address, token=issuer.token("agent-7"), on_disconnected=lost.append)
    async with bus, asyncio.timeout(PATIENCE):
        await bus.subscribe("a:*", hear, on_error=end("a"))
        await bus.subscribe("b:*", hear, on_error=end("b"))
        await bus.subscribe("d:*", hear, durable="jobs", on_error=end("jobs"))
        await bus.respond("r:*", _answer, on_error=end("r"))
        assert (await bus.request("r:1", NEWS)).payload == {"done": True}
        await bus.publish("b:1", NEWS)
        assert await heard.get() == "x"

        access_file(NARROW)
        program.wait_for("the access file was read anew")
        await all_ended.wait()
        assert {type(error) for error in ended.values()} == {PermissionDeniedError}
        assert ended["b"].details == {"right": "subscribe", "object": "b:*", "identity": "agent-7"}
        assert ended["jobs"].details["right"] == "durable.join"
        assert ended["r"].details["right"] == "respond"

        await bus.publish("a:1", NEWS)
        assert await heard.get() == "x"
        await bus.publish("b:1", NEWS)
        with pytest.raises(PermissionDeniedError):
            await bus.flush()
        with pytest.raises(PermissionDeniedError):
            await bus.request("r:1", NEWS)
        with pytest.raises(PermissionDeniedError):
            await bus.subscribe("b:1", hear)
        assert (await bus.statistics()).connections == 1
    assert lost == []


async def _answer(request: Any) -> dict[str, bool]:
    return {"done": True}


async def test_a_watch_ends_when_its_kind_is_no_longer_allowed(
    start_program: StartProgram, issuer: Issuer, access_file: Write
) -> None:
    """Saves on the same connection go on."""
    both = 'records.write = ["agent_state/{identity}"]\n'
    policy = access_file(f'[[allow]]\nwho = ["*"]\n{both}records.watch = ["agent_state/*"]')
    program = start_program("state", "--engine", "memory", *issuer.options, "--access-file", str(policy))
    own = AgentState(agent_id="agent-7", agent_type="coding", status=AgentStatus.IDLE)
    async with (
        GrpcStateManager(program.address, token=issuer.token("agent-7")) as state,
        asyncio.timeout(PATIENCE),
    ):
        watch = state.watch("agent_state")
        await state.save_agent_state(own)
        await anext(watch)
        access_file(f'[[allow]]\nwho = ["*"]\n{both}')
        with pytest.raises(PermissionDeniedError, match=r"records\.watch agent_state/\*"):
            async for _ in watch:
                pass
        await state.save_agent_state(own)
        with pytest.raises(PermissionDeniedError):
            await state.save_agent_state(own.model_copy(update={"agent_id": "agent-8"}))


async def test_a_file_that_is_wrong_changes_nothing(
    start_program: StartProgram, issuer: Issuer, policy: Path, access_file: Write
) -> None:
    """It is refused whole, told as an error, and counted; what was in force stays."""
    program = start_program("bus", "--engine", "memory", *issuer.options, "--access-file", str(policy))
    async with (
        GrpcMessageBus(program.address, token=issuer.token("agent-7")) as bus,
        asyncio.timeout(PATIENCE),
    ):
        access_file(f"{NARROW}\nrequets = []")
        await asyncio.to_thread(program.wait_for, "'requets' is unknown; did you mean 'request'?")
        await bus.publish("b:1", NEWS)
        await bus.flush()
        await asyncio.to_thread(policy.unlink)
        await asyncio.to_thread(program.wait_for, "it cannot be read: No such file")
        await bus.publish("b:1", NEWS)
        await bus.flush()
        access_file(NARROW)
        await asyncio.to_thread(program.wait_for, "the access file was read anew")
        await bus.publish("b:1", NEWS)
        with pytest.raises(PermissionDeniedError):
            await bus.flush()


async def test_more_permissions_are_in_force_without_a_new_connection(
    start_program: StartProgram, issuer: Issuer, access_file: Write
) -> None:
    """What was refused is tried again, and let through."""
    program = start_program("bus", "--engine", "memory", *issuer.options, "--access-file", str(access_file(NARROW)))
    async with (
        GrpcMessageBus(program.address, token=issuer.token("agent-7")) as bus,
        asyncio.timeout(PATIENCE),
    ):
        with pytest.raises(PermissionDeniedError):
            await bus.subscribe("b:*", _ignore)
        access_file(WIDE)
        await asyncio.to_thread(program.wait_for, "the access file was read anew")
        await bus.subscribe("b:*", _ignore)


async def _ignore(_: AgentMessage) -> None:
    """Does nothing."""
