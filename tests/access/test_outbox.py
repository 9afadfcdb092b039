"""Messages of writes that the bus denies the state service: set aside, told, and nothing waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.access.conftest import EVERYTHING, Issuer
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from trunkline import (
    AgentMessage,
    AgentState,
    AgentStatus,
    GrpcMessageBus,
    GrpcStateManager,
    MessageType,
)

POLICY = f"""
[[allow]]
who = ["state"]
publish = ["ok"]
[[allow]]
who = ["agent-7"]
{EVERYTHING}
"""


async def test_what_the_bus_denies_is_set_aside_and_the_rest_goes_on(
    start_program: StartProgram, issuer: Issuer, access_file: Callable[[str], Path]
) -> None:
    """With the bus's reason, counted, and in the log once for each."""
    file = access_file(POLICY)
    bus = start_program("bus", "--engine", "memory", *issuer.options, "--access-file", str(file))
    state = start_program(
        "state",
        *("--engine", "memory", *issuer.options, "--bus-address", bus.address),
        env={"TRUNKLINE_TOKEN": issuer.token("state")},
    )
    token = issuer.token("agent-7")
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: AgentMessage) -> None:
        heard.put_nowait(message.message_id)

    async with (
        GrpcMessageBus(bus.address, token=token) as listener,
        GrpcStateManager(state.address, token=token) as records,
        asyncio.timeout(PATIENCE),
    ):
        await listener.subscribe("ok", hear)
        for number, channel in enumerate(("denied", "ok", "denied", "ok")):
            message = AgentMessage(
                message_type=MessageType.STATUS_UPDATE, sender_id="x", payload={}, message_id=f"m{number}"
            )
            record = AgentState(agent_id=f"a{number}", agent_type="x", status=AgentStatus.IDLE)
            await records.save_agent_state(record, publish=[(channel, message)])
        assert [await heard.get(), await heard.get()] == ["m1", "m3"]
        outbox = None
        while outbox is None or outbox.stuck < 2 or outbox.waiting:
            outbox = (await records.statistics()).outbox
        assert {(each.message_id, each.channel, each.reason) for each in outbox.last_stuck} == {
            ("m0", "denied", "PERMISSION_DENIED"),
            ("m2", "denied", "PERMISSION_DENIED"),
        }
    state.wait_for('"m2"')  # what it writes comes by another way than what it answers
    told = [event for event in state.events() if "it is set aside" in event.get("event", "")]
    assert len(told) == 2
