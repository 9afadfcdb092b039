"""The demo as a whole: real programs, real agents, real ends."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.demo.conftest import MODULE, MODULE_FIGURES, Demo
from tests.patience import PATIENCE
from tests.programs import RunningProgram, health
from trunkline.v1 import bus_pb2_grpc, durable_pb2


def _totals() -> dict[str, int]:
    """Of the made folder, counted without the demo's code."""
    copies = sum(1 + number % 3 * 8 for number in range(40))
    counts = {name: count * copies for name, count in MODULE_FIGURES.items()}
    counts["comment"] += 2 + 1  # run.sh, old.py
    counts["lines"] += 6 * 3 + 3 + 2
    counts["blank"] += 6
    return {"files": 48, **counts}


def _durables(address: str) -> list[str]:
    """The names of all durable subscriptions of a bus."""
    with grpc.insecure_channel(address) as channel:
        stub: Any = bus_pb2_grpc.BusServiceStub(channel)
        answer = stub.ListDurableSubscriptions(durable_pb2.ListDurableSubscriptionsRequest(page_size=1_000))
    return [each.name for each in answer.subscriptions]


def _report(text: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(text)
    return report


def test_nothing_is_lost_when_an_agent_and_the_bus_are_killed(demo: Demo, folder: Path) -> None:
    """Every file is done exactly once in the stored results, what the dead agent held was handed out again and says so,
    and nothing is left behind."""
    result = demo.run(str(folder), "--format", "json")
    assert result.returncode == 0, result.stderr
    report = _report(result.stdout)
    assert report["ok"] is True
    assert report["totals"] == _totals()
    assert {row["language"]: row["files"] for row in report["languages"]} == {
        "Python": 40,
        "Python (not parsed)": 1,
        "Markdown": 6,
        "Shell": 1,
    }
    agent, bus = report["killed"]
    agents = {each["name"]: each for each in report["agents"]}
    assert (agent["name"], bus["name"]) == ("coding-process-1", "bus")
    assert agents[agent["name"]]["status"] == "failed"
    assert f"{agent['name']} (pid {agent['pid']}) is killed" in result.stderr
    assert f"the bus itself (pid {bus['pid']}) is killed" in result.stderr
    assert bus["away_seconds"] > 0
    assert (report["receipts"], report["lost"]) == (48, 0)
    kept = {each["name"]: each for each in report["kept"]}
    assert {name: (each["acked"], each["dead_letters"], each["open"]) for name, each in kept.items()} == {
        "coding": (48, 0, 0),
        "review": (48, 0, 0),
        "coordinator": (48, 0, 0),
    }
    assert kept["coding"]["redelivered"] >= 1
    assert kept["coding"]["delivered"] == 48 + kept["coding"]["redelivered"]
    held = [each for each in report["handed_out_again"] if each["durable"] == "coding"]
    assert len(held) + report["traffic"]["duplicates"] >= 1  # figures that the dead agent had published are known
    assert all(each["attempt"] > 1 and each["done_by"] != agent["name"] for each in held)
    assert sum(each["files"] for name, each in agents.items() if name.startswith("coding")) == 48
    assert sum(each["files"] for name, each in agents.items() if name.startswith("review")) == 48
    assert demo.leaves_nothing()


def test_all_three_programs_carry_traffic(demo: Demo, folder: Path) -> None:
    """Their own counts say so, and each kind of agent has its part."""
    report = _report(demo.run(str(folder), "--no-kill", "--format", "json").stdout)
    traffic = report["traffic"]
    assert report["killed"] == []
    assert traffic["stored"] == 48 * 3
    assert traffic["published"] >= 48 * 3
    assert traffic["delivered"] >= 48 * 3
    assert traffic["saves"] > 48 * 3
    assert traffic["streams"] >= 6
    assert traffic["lines_in"] == traffic["requests"]  # its name is a line and no request, the audit the other way
    assert {(agent["kind"], agent["way"]) for agent in report["agents"] if agent["published"]} >= {
        ("thread", "bus"),
        ("thread", "sidecar"),
        ("process", "bus"),
        ("process", "sidecar"),
    }


def test_people_get_tables(demo: Demo, folder: Path) -> None:
    """What was found, who did it, what was kept, what flowed, and the verdict."""
    result = demo.run(str(folder), "--no-kill")
    assert result.returncode == 0
    for words in (
        "What was found in",
        "Most complex",
        "Who did it",
        "What the bus kept until it was done",
        "What flowed through each program",
    ):
        assert words in result.stdout
    assert "48 of 48 results audited by review-" in result.stdout
    assert "Every one of 48 files was done exactly once in the stored results; lost: 0 of 48 receipts" in result.stdout
    assert "\x1b" not in result.stdout
    assert result.stderr == ""


def test_one_external_program_can_do_all_of_it(demo: Demo, folder: Path) -> None:
    """With no other coding agent, everything passes over the UNIX socket; the bus is killed all the same."""
    result = demo.run(str(folder), "--agents-threads", "0", "--agents-processes", "0", "--format", "json")
    report = _report(result.stdout)
    assert result.returncode == 0
    assert report["totals"] == _totals()
    assert {agent["name"]: agent["files"] for agent in report["agents"]}["coding-external-1"] == 48
    assert "no agent was killed" in result.stderr
    assert [each["name"] for each in report["killed"]] == ["bus"]
    assert report["lost"] == 0


def test_results_that_are_not_complete_are_told_and_the_exit_code_is_1(demo: Demo, folder: Path) -> None:
    """Here because the time is up."""
    result = demo.run(str(folder), "--timeout", "0.05")
    assert result.returncode == 1
    assert "the work was not done within 0.05 s" in result.stdout
    assert "files have no stored result" in result.stdout
    assert "Every one of" not in result.stdout
    assert demo.leaves_nothing()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_behind(demo: Demo, folder: Path, signum: signal.Signals) -> None:
    """Ctrl-C goes to everybody in the terminal's group; SIGTERM to the command alone."""
    with demo.started(str(folder), until="development") as process:
        if signum == signal.SIGINT:
            os.killpg(process.pid, signum)
        else:
            process.send_signal(signum)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "interrupted" in output
    assert "Traceback" not in output
    assert demo.leaves_nothing()


def test_a_coordinator_that_is_killed_takes_everything_with_it(demo: Demo, folder: Path) -> None:
    """Programs end with their standard input, agents with their pipe, the external one with its socket."""
    with demo.started(str(folder), until="development") as process:
        process.kill()
        process.wait()
    assert demo.ends() == {}


def test_a_program_that_ends_in_the_middle_ends_the_run(demo: Demo, folder: Path) -> None:
    """It is named, and the exit code is 1."""
    with demo.started(str(folder), until="development") as process:
        bus = next(pid for pid, line in demo.processes().items() if "trunklined bus" in line)
        os.kill(bus, signal.SIGKILL)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "the bus ended by itself (exit code -9)" in output
    assert demo.leaves_nothing()


def test_a_program_that_cannot_start_is_named_with_its_own_words(demo: Demo, folder: Path) -> None:
    """Here because of a setting that it cannot take."""
    result = demo.run(str(folder), TRUNKLINE_STATE_WATCH_HISTORY="many")
    assert result.returncode == 1
    assert "the state could not start (exit code 2)" in result.stdout
    assert "TRUNKLINE_STATE_WATCH_HISTORY=many" in result.stdout
    assert demo.leaves_nothing()


def test_programs_that_run_already_are_used(
    demo: Demo, folder: Path, bus_address: str, state_address: str, sidecar_program: RunningProgram
) -> None:
    """And are neither killed nor ended; what the run kept on the bus is deleted."""
    sidecar = sidecar_program.address
    socket = Path(sidecar.removeprefix("unix:")).with_name("channel.sock")
    running = ("--bus", bus_address, "--state", state_address, "--sidecar", sidecar, "--socket", str(socket))
    result = demo.run(str(folder), *running, "--format", "json")
    assert result.returncode == 0, result.stderr
    report = _report(result.stdout)
    assert report["totals"] == _totals()
    assert [each["name"] for each in report["killed"]] == ["coding-process-1"]
    assert "the bus was not killed: it ran already" in result.stderr
    assert not any(name.startswith(report["workflow_id"]) for name in _durables(bus_address))
    assert {health(address) for address in (bus_address, state_address, sidecar)} == {"SERVING"}
    assert demo.leaves_nothing()


def test_a_bus_that_does_not_run_is_told(demo: Demo, folder: Path) -> None:
    """With the exit code of what cannot be reached."""
    result = demo.run(str(folder), "--bus", "127.0.0.1:1")
    assert result.returncode == 5
    assert "127.0.0.1:1" in result.stderr
    assert demo.leaves_nothing()


@pytest.mark.parametrize("arguments", [("--sidecar", "unix:/tmp/no.sock"), ("--agents-threads", "-1"), ("no-folder",)])
def test_wrong_usage_is_told(demo: Demo, arguments: tuple[str, ...]) -> None:
    """Before anything is started."""
    assert demo.run(*arguments).returncode == 2


def test_a_folder_without_sources_is_wrong_usage(demo: Demo, tmp_path: Path) -> None:
    """There is nothing to show."""
    result = demo.run(str(tmp_path))
    assert result.returncode == 2
    assert "there is no source file" in result.stderr


def test_the_made_module_is_what_was_counted() -> None:
    """The independent count holds for the module that the folder is made of."""
    assert MODULE.count("\n") == MODULE_FIGURES["lines"]
