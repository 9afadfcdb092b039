"""`trunkline bench` measures the deployment that it is pointed at, with real programs, and leaves nothing there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest

from tests.programs import command
from trunkline import LocalStack
from trunkline.cli.services import bench, measuring
from trunkline.sync import StateManager

SECONDS = 30.0


def _bench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(["bench", *arguments]),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, **environment},
    )


def _measure(bus: str, state: str, *arguments: str) -> dict[str, dict[str, Any]]:
    done = _bench("--bus", bus, "--state", state, "--format", "json", *arguments)
    assert done.returncode == 0, done.stderr
    return {each["work"]: each for each in map(json.loads, done.stdout.splitlines())}


def _kept(bus: str, state: str) -> tuple[list[Any], list[Any]]:
    """The durable subscriptions and the records that measurements have left."""
    listed = subprocess.run(
        command(["--bus", bus, "--format", "json", "durable", "list"]), capture_output=True, text=True, check=True
    )
    with StateManager(state) as store:
        records = [result.task_id for result in store.list_task_results() if result.task_id.startswith("bench-")]
    return [line for line in listed.stdout.splitlines() if '"bench-' in line], records


def test_each_work_is_measured_and_nothing_is_left(bus_address: str, state_address: str) -> None:
    """As many operations as were asked for, with what each costs here; nothing is lost."""
    measured = _measure(bus_address, state_address, "--count", "2000")
    assert list(measured) == ["live", "request", "stored", "save", "get"]
    for each in measured.values():
        assert (each["done"], each["lost"]) == (2_000, 0)
        assert each["per_second"] == pytest.approx(2_000 / each["seconds"], rel=0.2)
        assert each["cpu_us"] > 0
    assert measured["live"]["median_ms"] is None
    assert all(0 < each["median_ms"] <= each["p99_ms"] for name, each in measured.items() if name != "live")
    assert _kept(bus_address, state_address) == ([], [])


def test_time_is_a_bound_too(bus_address: str, state_address: str) -> None:
    """Of works that would take much longer."""
    measured = _measure(bus_address, state_address, "--count", "10000000", "--seconds", "0.3")
    for each in measured.values():
        assert 0 < each["done"] < 10_000_000
        assert each["seconds"] < 10


def test_people_get_a_table_of_the_works_that_they_name(bus_address: str) -> None:
    """Without a state service, where no work needs one."""
    done = _bench("--bus", bus_address, "--state", "127.0.0.1:1", "--only", "stored", "--only", "live", "--count", "50")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["work", "per", "second", "CPU", "µs", "median", "ms", "p99", "ms", "done", "lost"]
    assert [line.split()[0] for line in lines[2:]] == ["live", "stored"]


def test_one_operation_is_enough(bus_address: str, state_address: str) -> None:
    """There is no rank in one latency."""
    measured = _measure(bus_address, state_address, "--count", "1", "--size", "0")
    assert all(each["done"] == 1 for each in measured.values())
    assert measured["get"]["median_ms"] > 0
    assert measured["get"]["p99_ms"] is None


@pytest.mark.parametrize("work", ["stored", "save"])
def test_an_interrupted_measurement_leaves_nothing(bus_address: str, state_address: str, work: str) -> None:
    """Ctrl-C in the middle of it."""
    options = ("--bus", bus_address, "--state", state_address, "--only", work)
    process = subprocess.Popen(
        command(["bench", *options, "--count", "10000000", "--seconds", "20"]), stdout=subprocess.PIPE, text=True
    )
    with process:
        while not any(_kept(bus_address, state_address)):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
    assert _kept(bus_address, state_address) == ([], [])


def test_a_deployment_that_is_not_there_is_said() -> None:
    """With the exit code of what cannot be reached."""
    done = _bench("--bus", "127.0.0.1:1", "--only", "live")
    assert done.returncode == 5
    assert "127.0.0.1:1" in done.stderr


def test_the_addresses_may_stand_in_the_environment() -> None:
    """As of every subcommand; here of a stack in memory."""
    with LocalStack() as stack:
        done = _bench("--count", "10", TRUNKLINE_BUS=stack.bus_address, TRUNKLINE_STATE=stack.state_address)
    assert done.returncode == 0, done.stderr


def test_every_work_has_a_service() -> None:
    """The command names what is measured before it loads what measures it."""
    assert list(bench.WORKS) == list(measuring.WORKS)
