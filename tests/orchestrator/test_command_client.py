"""CommandClient: what it makes of answers that no orchestrator gives."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline import AgentMessage, InMemoryMessageBus
from trunkline.channels import agent_channel
from trunkline.orchestrator import CommandError
from trunkline.orchestrator.fleet.command_client import CommandClient


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"payload": {"payload": "no JSON"}}, "{'payload': 'no JSON'}"),
        ({"payload": {}}, "{}"),
        ({"data": b"[1]", "content_type": "application/json"}, "b'[1]'"),
        ({"data": b"\xff"}, "b'\\xff'"),
    ],
)
async def test_an_answer_of_something_else_is_shown(fields: dict[str, Any], shown: str) -> None:
    """As it came, also where it is no JSON object."""
    async with InMemoryMessageBus() as bus:

        async def answer(message: AgentMessage) -> None:
            words = {"message_type": "x", "sender_id": "o", "correlation_id": message.correlation_id}
            await bus.publish("elsewhere", AgentMessage(**words, **fields))

        await bus.subscribe(agent_channel("o"), answer)
        with pytest.raises(CommandError) as refused:
            await CommandClient(bus, "tests", 10).ask("o", "ps")
    assert str(refused.value) == f"orchestrator 'o' answered {shown}"
