"""The commands against a real fleet: two orchestrators over a bus and a state store, asked by --bus and --state."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.conftest import Trunkline
from tests.cli.watching import watching
from tests.orchestrator.program import Agent, Serve, ServedOrchestrator
from tests.programs import RunningProgram

SECONDS = 30.0
AGENTS: dict[str, list[Agent]] = {
    "east": [("weather", "TickingProcess", {}), ("bad", "Failing", {})],
    "west": [("alerts", "Ticking", {"dependencies": ["idle"]}), ("idle", "Ticking", {})],
}

Fleet = dict[str, ServedOrchestrator]
Ask = Callable[..., Any]


@pytest.fixture
def fleet(serve: Serve, killable_bus: RunningProgram, killable_state: RunningProgram) -> Fleet:
    """east has a process that runs and an agent that failed, west two that were not started."""
    east = start_east(serve, killable_bus, killable_state)
    west = serve(socket="west.sock", name="west", agents=AGENTS["west"], config=_config(killable_bus, killable_state))
    return {"east": east, "west": west}


def start_east(serve: Serve, bus: RunningProgram, state: RunningProgram) -> ServedOrchestrator:
    return serve(
        socket="east.sock",
        name="east",
        agents=AGENTS["east"],
        start=["weather", "bad"],
        config=_config(bus, state),
        until={"bad": "failed"},
    )


def _config(bus: RunningProgram, state: RunningProgram) -> dict[str, Any]:
    addresses = {"bus_address": bus.address, "state_address": state.address}
    return {"max_workers": 3, **addresses, "heartbeat_interval": 0.25, "heartbeat_timeout": 3.0}


@pytest.fixture
def ask(trunkline: Trunkline, fleet: Fleet, killable_bus: RunningProgram, killable_state: RunningProgram) -> Ask:
    """`ask("ps")` is what the command says of the fleet; `code` is what its exit code must be."""

    def said(*arguments: str, code: int = 0) -> str:
        where = ("--bus", killable_bus.address, "--state", killable_state.address)
        result = trunkline(*arguments, *where)
        assert result.returncode == code, result
        return result.stderr if code else result.stdout

    return said


def until(ask: Ask, is_right: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """`ps` of the fleet, once it is right."""
    end = time.monotonic() + SECONDS
    while True:
        data: dict[str, Any] = json.loads(ask("ps", "--format", "json"))["data"]
        if is_right(data):
            return data
        assert time.monotonic() < end, data


def states(data: dict[str, Any]) -> dict[str, str]:
    return {agent["agent_name"]: agent["state"] for agent in data["agents"]}


def test_ps_shows_the_whole_fleet(ask: Ask) -> None:
    """Which agent is where, and how the orchestrators stand."""
    until(ask, lambda data: states(data).get("weather") == "ready" and states(data).get("bad") == "failed")
    shown = ask("ps")
    assert shown.startswith("Orchestrator Status: 1/6 agents running\n")
    rows = [line.split() for line in shown.splitlines()]
    assert ["weather", "ALIVE", "YES", "NO", "ready", "east"] in rows
    assert ["bad", "DEAD", "YES", "NO", "failed", "east"] in rows
    heads = [row[:3] for row in rows if row[:1] in (["east"], ["west"])]
    assert heads == [["east", "ALIVE", "1/3"], ["west", "ALIVE", "0/3"]]


def test_an_agent_is_started_and_stopped_wherever_it_is(ask: Ask) -> None:
    """With where that was; one that nobody has is exit code 3."""
    assert ask("start", "idle") == "Agent 'idle' started successfully on west\n"
    assert "idle" in ask("start", "idle", code=1)
    assert ask("status", "idle").splitlines()[0] == "Agent: idle"
    assert "Orchestrator: west" in ask("status", "idle")
    assert ask("stop", "idle") == "Agent 'idle' stopped successfully on west\n"
    for command in ("start", "stop", "status"):
        assert "AGENT_NOT_FOUND" in ask(command, "nobody", code=3)


def test_what_is_told_of_one_is_told_of_all(ask: Ask) -> None:
    """status, dependencies, stats and history, each with the orchestrator that it is of."""
    shown = ask("status")
    assert "Orchestrator: east" in shown
    assert "Orchestrator: west" in shown
    assert ask("dependencies") == "Agent Dependencies:\n  alerts -> idle\n"
    lines = ask("stats").splitlines()
    assert lines[0].startswith("east: 1/3 agents running; up ")
    assert lines[1].startswith("west: 0/3 agents running; up ")
    assert any(line.split()[:2] == ["weather", "ready"] and line.split()[-1] == "east" for line in lines)
    data = json.loads(ask("history", "--agent", "bad", "--format", "json"))["data"]
    assert {event["orchestrator"] for event in data["events"]} == {"east"}
    table = ask("history", "--type", "AGENT_ERROR")
    assert "ORCHESTRATOR" in table
    assert "it cannot be done" in table
    assert "--after-seq asks one orchestrator" in ask("history", "--after-seq", "1", code=2)


def test_the_fleet_is_followed(
    ask: Ask,
    fleet: Fleet,
    serve: Serve,
    environment: dict[str, str],
    killable_bus: RunningProgram,
    killable_state: RunningProgram,
) -> None:
    """Each event once, with its orchestrator; also of one that began anew, which counts from 1 again."""
    where = ("--bus", killable_bus.address, "--state", killable_state.address)
    with watching(environment, "--format", "json", "--last", "1", *where) as (_, stdout, _stderr):
        json.loads(stdout.readline())
        ask("start", "idle")
        told = [json.loads(stdout.readline()) for _ in range(3)]
        assert {event["type"] for event in told} == {"COMMAND_EXECUTED", "AGENT_STARTED", "AGENT_READY"}
        assert {(event["agent"], event["orchestrator"]) for event in told} == {("idle", "west")}
        for _ in range(4):  # it has told more than the new one will: that is how it is known to have begun anew
            fleet["east"].ask("stop", "weather")
            fleet["east"].ask("start", "weather")
            while (event := json.loads(stdout.readline()))["type"] != "AGENT_READY":
                assert event["orchestrator"] == "east"
        fleet["east"].process.kill()
        fleet["east"].process.wait(SECONDS)
        start_east(serve, killable_bus, killable_state)
        assert json.loads(stdout.readline())["seq"] == 1


def test_the_report_says_what_is_wrong_with_the_fleet(ask: Ask, fleet: Fleet) -> None:
    """First of all which orchestrators are gone, and which agents are lost with them."""
    shown = ask("report")
    assert shown.startswith("# Fleet of 2 orchestrators\n")
    assert "1 agent in need of attention" in shown
    assert shown.index("# Orchestrator east on") < shown.index("# Orchestrator west on")
    fleet["east"].process.kill()
    until(ask, lambda data: not all(each["alive"] for each in data["orchestrators"]))
    shown = ask("report")
    assert "1 orchestrator not heard of" in shown
    assert "## Orchestrators that are not heard of" in shown
    assert "# Orchestrator west on" in shown


def test_the_fleet_is_shut_down(ask: Ask, fleet: Fleet) -> None:
    """One of it, then the rest; then nobody is there."""
    assert ask("shutdown", "--orchestrator", "west") == "Shutdown initiated on west\n"
    assert fleet["west"].process.wait(SECONDS) == 0
    assert ask("shutdown") == "Shutdown initiated on east\n"
    assert fleet["east"].process.wait(SECONDS) == 0
    assert "ORCHESTRATOR_NOT_FOUND" in ask("shutdown", code=5)


def test_a_fleet_without_a_bus_is_exit_code_5(trunkline: Trunkline, state_address: str) -> None:
    """Said, not waited for for ever."""
    said = trunkline("stop", "x", "--bus", "127.0.0.1:1", "--state", state_address)
    assert said.returncode == 5
    assert "127.0.0.1:1" in said.stderr


def test_one_of_a_fleet_can_only_be_named_with_a_fleet(trunkline: Trunkline) -> None:
    """Else the option would say nothing."""
    said = trunkline("shutdown", "--orchestrator", "x")
    assert said.returncode == 2
    assert "say --bus too" in said.stderr
