"""`trunkline state outbox`, and its line in `trunkline services`, against real services."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from pathlib import Path

from tests.cli.conftest import Trunkline
from tests.conftest import StartProgram
from tests.patience import PATIENCE
from tests.programs import RunningProgram
from trunkline import AgentMessage, GrpcStateManager, OutboxMessage, TaskResult


def publish(state: RunningProgram, *messages: OutboxMessage) -> None:
    """Saves a record with messages, and waits until none waits for the bus."""

    async def save(publish: Sequence[OutboxMessage]) -> None:
        async with GrpcStateManager(state.address) as manager, asyncio.timeout(PATIENCE):
            await manager.save_task_result(TaskResult(task_id="t", agent_id="a", status="completed"), publish=publish)
            while True:
                outbox = (await manager.statistics()).outbox
                assert outbox is not None
                if not outbox.waiting or not outbox.bus_connected:
                    return
                await asyncio.sleep(0.05)

    asyncio.run(save(messages))


def message(text: str) -> AgentMessage:
    return AgentMessage(message_type="x", sender_id="tests", payload={"text": text})


def test_what_waits_and_what_is_stuck(
    trunkline: Trunkline, start_program: StartProgram, socket_dir: Path, channel: str
) -> None:
    """All quiet, then one that the bus refused, then a bus that is away: for people and for scripts."""
    bus = start_program("bus", "--max-message-bytes", "2000")
    state = start_program("state", "--engine", "memory", "--bus-address", bus.address)
    at = ("--bus", bus.address, "--state", state.address)
    publish(state, OutboxMessage(channel, message("small")))
    quiet = trunkline("state", "outbox", *at)
    assert quiet.returncode == 0
    assert "waiting              0 messages\n" in quiet.stdout
    assert "relayed              1\n" in quiet.stdout
    assert re.search(r"^outbox +0 messages$", trunkline(*at, "services").stdout, re.MULTILINE)
    large = message("x" * 3_000)
    publish(state, OutboxMessage(channel, large))
    said = trunkline("state", "outbox", *at, "--format", "json")
    assert said.returncode == 1
    figures = json.loads(said.stdout)
    assert (figures["stuck"], figures["relayed"], figures["waiting"]) == (1, 1, 0)
    [stuck] = figures["last_stuck"]
    assert (stuck["message_id"], stuck["reason"]) == (large.message_id, "MESSAGE_TOO_LARGE")
    assert large.message_id in trunkline("state", "outbox", *at).stdout
    assert json.loads(trunkline(*at, "services", "--format", "json").stdout)["state"]["outbox"] == figures
    bus.kill()
    publish(state, OutboxMessage(channel, message("waits")))
    shown = trunkline("state", "outbox", *at).stdout
    assert "waiting              1 message, the oldest for " in shown
    assert "bus is               away\n" in shown
    line = f"the bus {bus.address} is away; 1 message stuck; see trunkline state outbox\n"
    assert line in trunkline(*at, "services").stdout


def test_a_state_service_without_a_bus(trunkline: Trunkline, killable_state: RunningProgram) -> None:
    """It says so, and how one is given."""
    said = trunkline("state", "outbox", "--state", killable_state.address)
    assert said.returncode == 1
    assert "was given no bus (TRUNKLINE_STATE_BUS_ADDRESS)" in said.stderr
    shown = trunkline("services", "--state", killable_state.address).stdout
    assert re.search(r"^outbox +-$", shown, re.MULTILINE)
