"""What permissions and limits cost, beside a live message: less than a twentieth of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.access.conftest import EVERYTHING, Issuer, Serve
from tests.patience import PATIENCE, TRIES
from trunkline import AgentMessage, GrpcMessageBus, MessageType
from trunklined.access.control import AccessControl
from trunklined.access.gate import Gate
from trunklined.access.identity import Identity
from trunklined.access.proof import Proof

log = logging.getLogger(__name__)

SHARE = 0.05
MESSAGES = 4_000
FRAMES = 20_000
ALLOW = f'[[allow]]\nwho = ["*"]\n{EVERYTHING}\n'
LIMIT = (
    '[[limit]]\nwho = ["*"]\nmessages_per_second = 1e9\nbytes_per_second = 1e12\nstored_bytes_per_second = 1e12\n'
    "streams = 100\nsubscriptions = 100\nrequests = 100\n"
)


async def _live_message(address: str, token: str, alone: bool) -> float:
    """The CPU time of one live message, in publisher, bus and subscriber together, which are this process.

    Args:
        alone: each is a frame of its own.
    """
    message = AgentMessage(message_type=MessageType.STATUS_UPDATE, sender_id="x", payload={"text": "x" * 200})
    count = MESSAGES // 10 if alone else MESSAGES
    heard = 0
    everything = asyncio.Event()

    async def hear(_: AgentMessage) -> None:
        nonlocal heard
        heard += 1
        if heard == count:
            everything.set()

    async with GrpcMessageBus(address, token=token) as bus, asyncio.timeout(PATIENCE):
        await bus.subscribe("c", hear, credit=count)
        began = time.process_time()
        for _ in range(count):
            await bus.publish("c", message)
            if alone:
                await bus.flush()
        await everything.wait()
        return (time.process_time() - began) / count


def _gate(file: Path) -> Gate:
    control = AccessControl(Proof(), str(file))
    return Gate(control, Identity("agent-7", "token", "peer"), "OpenStream", lambda error: None)


def _asked(gate: Gate, messages: int) -> float:
    """The CPU time of one message's share of what its frame asks the gate."""
    encoded = [b"x" * 256] * messages
    gate.publish("c", encoded, stored=False)
    began = time.process_time()
    for _ in range(FRAMES // messages):
        gate.publish("c", encoded, stored=False)
    return (time.process_time() - began) / (FRAMES // messages) / messages


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("text", [ALLOW, ALLOW + LIMIT], ids=["permissions", "permissions and limits"])
async def test_it_costs_less_than_a_twentieth_of_a_live_message(
    text: str, alone: bool, serve: Serve, issuer: Issuer, access_file: Callable[[str], Path]
) -> None:
    """Of messages that travel alone, and of those that share a frame."""
    file = access_file(text)
    async with serve("bus", **issuer.settings) as address:
        live = await _live_message(address, issuer.token("agent-7"), alone)
    share = min(_asked(_gate(file), 1 if alone else 256) / live for _ in range(TRIES))
    log.info("a live message takes %.1f µs of CPU; what is asked for it %.2f%% of that", live * 1e6, share * 100)
    assert share < SHARE
