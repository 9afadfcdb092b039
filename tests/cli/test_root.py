"""The command as a whole: fast, helpful, and clear about wrong usage."""

from __future__ import annotations

import re
import resource
import subprocess

import pytest

from tests.cli.conftest import Trunkline
from tests.patience import PATIENCE
from tests.programs import command


def _seconds(*arguments: str) -> float:
    """Of the processor: it waits for nothing but for other work on the machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command(arguments), check=True, capture_output=True, timeout=PATIENCE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_help_is_there_at_once() -> None:
    """Nothing is loaded that the help does not need: below 0.3 s."""
    assert min(_seconds("--help") for _ in range(5)) < 0.3


def test_the_help_names_every_command_and_exit_code(trunkline: Trunkline) -> None:
    """What there is, and what scripts may rely on."""
    said = trunkline("--help")
    assert said.returncode == 0
    named = set(re.findall(r"^  ([a-z]+) ", said.stdout, re.MULTILINE))
    assert {"up", "serve", "publish", "subscribe", "request", "state", "services", "demo", "bench"} <= named
    assert {"ps", "list", "start", "stop", "status", "report", "stats", "history", "shutdown"} <= named
    for meaning in ("no such record", "no answer in time", "cannot be reached", "interrupted"):
        assert meaning in said.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("publish",),
        ("publish", "a:b", "[1]"),
        ("publish", "a:b", '{"x"'),
        ("publish", "a:b", "{}", "--ttl", "0"),
        ("publish", "a:b", "{}", "--metadata", "3"),
        ("request", "a:b", "{}", "--timeout", "0"),
        ("subscribe", "--count", "0"),
        ("state", "get", "person", "x"),
        ("state", "list", "task", "--phase", "devops"),
        ("state", "save", "agent", '{"agent_id": "x"}'),
        ("--format", "xml", "stats"),
    ],
)
def test_wrong_usage_is_exit_code_2(trunkline: Trunkline, arguments: tuple[str, ...]) -> None:
    """With a message, and no traceback."""
    said = trunkline(*arguments)
    assert said.returncode == 2
    assert "Error: " in said.stderr
    assert "Traceback" not in said.stderr


def test_serve_becomes_the_program(trunkline: Trunkline) -> None:
    """Its options are the program's own; bad ones end it with 2 and name the setting."""
    assert "TRUNKLINE_BUS_ADDRESS" in trunkline("serve", "bus", "--help").stdout
    bad = trunkline("serve", "bus", "--drain-seconds", "soon")
    assert bad.returncode == 2
    assert bad.stderr.startswith("trunklined bus: --drain-seconds=soon: ")
