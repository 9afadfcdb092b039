"""stats against a real orchestrator: one picture in a pipe, live on a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console

from tests.cli.conftest import OnTerminal, Trunkline
from tests.orchestrator.program import Agent, Serve
from tests.programs import command
from trunkline.cli.agents.agent_statistics import _picture

AGENTS: list[Agent] = [
    ("calm", "Ticking", {}),
    ("apart", "TickingProcess", {}),
    ("bad", "Failing", {}),
    ("idle", "Ticking", {}),
]


def test_stats_are_figures_of_each_agent(serve: Serve, trunkline: Trunkline) -> None:
    """CPU, memory, uptime, heartbeat, restarts, errors; what a thread takes is the orchestrator's."""
    orchestrator = serve(agents=AGENTS, start=["calm", "apart"])
    data = json.loads(trunkline("stats", "--format", "json").stdout)["data"]
    calm, apart = data["agents"]
    assert apart["pid"] != orchestrator.process.pid
    assert apart["memory_mb"] > 5
    assert apart["threads"] >= 1
    assert 0 <= apart["cpu_percent"] < 1_000
    assert apart["uptime_seconds"] > 0
    assert 0 <= apart["heartbeat_age_seconds"] < 20
    assert (apart["restarts"], apart["errors"]) == (0, 0)
    assert (calm["pid"], calm["memory_mb"], calm["cpu_percent"]) == (None, None, None)
    own = data["orchestrator"]
    assert (own["running_agents"], own["max_workers"], own["total_agents"]) == (2, 5, 4)
    assert own["states"] == {"ready": 2, "registered": 2}
    assert own["memory_mb"] > 5


def test_in_a_pipe_they_are_one_table(serve: Serve, trunkline: Trunkline) -> None:
    """The ones in trouble first, and nothing of a terminal in it."""
    serve(agents=AGENTS, start=["calm", "bad"], until={"bad": "failed"})
    shown = trunkline("stats").stdout
    assert shown.startswith("orchestrator: ")
    lines = shown.splitlines()
    assert lines[2].split("   ")[0].strip() == "NAME"
    assert [line.split()[:2] for line in lines[4:]] == [["bad", "failed"], ["calm", "ready"]]
    assert "\x1b" not in shown


def test_once_on_a_terminal_is_one_table(serve: Serve, on_terminal: OnTerminal) -> None:
    """And then the prompt."""
    serve(agents=AGENTS, start=["calm"])
    code, shown = on_terminal("stats", "--once")
    assert code == 0
    assert "calm" in shown


def test_on_a_terminal_they_are_redrawn_until_ctrl_c(serve: Serve, environment: dict[str, str]) -> None:
    """What happens meanwhile is seen; an orchestrator that goes is said, and one that comes is shown."""
    first = serve(agents=AGENTS, start=["calm"])
    with watched(environment, "stats", "--interval", "0.1") as (watcher, wait_for):
        wait_for("calm")
        first.ask("start", "apart")
        wait_for("apart")
        first.process.kill()
        wait_for("no answer: ")
        serve(agents=[("another", "Ticking", {})], start=["another"])
        wait_for("another")
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(20) == 130


def test_a_terminal_that_is_too_small_says_what_is_missing(serve: Serve, environment: dict[str, str]) -> None:
    """How many more there are, and how to see them."""
    serve(agents=[(f"a{n:02}", "Finishing", {}) for n in range(60)], start=[f"a{n:02}" for n in range(60)])
    with watched(environment, "stats") as (watcher, wait_for):
        wait_for("more: a larger window, or --once, shows them")
        watcher.kill()


def test_nobody_there_is_exit_code_5_and_says_where_the_other_figures_are(trunkline: Trunkline) -> None:
    """Whoever wants those of bus and state finds them."""
    said = trunkline("stats", "--socket", "/nowhere/o.sock")
    assert said.returncode == 5
    assert "trunkline services" in said.stderr
    assert "trunkline services" in trunkline("stats", "--help").stdout


def test_figures_of_thousands_have_room_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """With their separators: names are cut, and never a figure."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "40")
    agent = {
        **{"name": "n" * 100, "state": "ready", "pid": 4_194_304, "cpu_percent": 100.0, "memory_mb": 12_345.6},
        **{"uptime_seconds": 86_400.0, "heartbeat_age_seconds": 1.0, "restarts": 1_234_567, "errors": 7_654_321},
    }
    screen = io.StringIO()
    Console(file=screen, width=80).print(_picture({"orchestrator": {"name": "one"}, "agents": [agent]}))
    (row,) = [line for line in screen.getvalue().splitlines() if line.startswith("nnn")]
    name, *cells = row.split()
    assert name.endswith("n…")
    assert cells[-2:] == ["1,234,567", "7,654,321"]
    assert len(row) <= 80


Wait = Callable[[str], None]


@contextmanager
def watched(environment: dict[str, str], *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Wait]]:
    """A subcommand on a terminal of 40 lines and 120 columns, and what waits until something is to be read there."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 120))
    own = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(command(arguments), stdin=theirs, stdout=theirs, stderr=theirs, env=own) as process:
        os.close(theirs)
        shown = b""

        def wait_for(words: str) -> None:
            nonlocal shown
            while words.encode() not in shown:
                shown += os.read(ours, 65_536)
            shown = b""

        try:
            yield process, wait_for
        finally:
            process.kill()
    os.close(ours)
