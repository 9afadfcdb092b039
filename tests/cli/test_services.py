"""services and subscriptions against real services."""

from __future__ import annotations

import json
import signal
import subprocess

from tests.cli.conftest import Follow, Trunkline
from tests.cli.deaths import Death, let_die
from tests.programs import RunningProgram, command


def test_services_show_both_services(trunkline: Trunkline, channel: str) -> None:
    """Figures as numbers for scripts, by name for people."""
    before = json.loads(trunkline("services", "--format", "json").stdout)
    trunkline("publish", channel, "--count", "3")
    after = json.loads(trunkline("services", "--format", "json").stdout)
    assert after["bus"]["published"] - before["bus"]["published"] >= 3
    assert after["state"]["engine"] == "sqlite"
    kinds = {"agent_state", "workflow_state", "task_result", "lease", "agent_presence"}
    assert set(after["state"]["records"]) == kinds
    shown = trunkline("services").stdout
    assert "published" in shown
    assert "revision" in shown


def test_services_say_what_is_stored_in_a_few_lines(
    trunkline: Trunkline, killable_bus: RunningProgram, name: str, channel: str
) -> None:
    """With the way to the dead letters where there are any; scripts get every figure by its name."""
    at = ("--bus", killable_bus.address)
    quiet = trunkline(*at, "services").stdout
    assert "dead letters      0\n" in quiet
    assert "queue memory      0 bytes of " in quiet
    let_die(killable_bus.address, name, channel, Death(channel, "x"), Death(channel, "y"))
    for _ in range(2):
        trunkline(*at, "publish", channel, "--stored", "--message-id", "m")
    trunkline(*at, "publish", channel, "--stored", "--deliver-after", "1h")
    shown = trunkline(*at, "services").stdout
    assert "stored            4, and 1 duplicate\n" in shown
    assert "durable           1 subscription: 0 acked, 0 redelivered, 2 died\n" in shown
    assert "; 1 held back until later\n" in shown
    assert "dead letters      2; see trunkline dead-letters list\n" in shown
    figures = json.loads(trunkline(*at, "services", "--format", "json").stdout)["bus"]
    wanted = {"stored": 4, "duplicates": 1, "dead_lettered": 2, "dead_letters": 2, "held_back": 1}
    assert {each: figures[each] for each in wanted} == wanted
    assert figures["journal_file_bytes"] > 0


def test_one_service_that_is_gone_does_not_hide_the_other(trunkline: Trunkline) -> None:
    """The other is shown; the exit code says that something is missing."""
    said = trunkline("services", "--state", "127.0.0.1:1")
    assert said.returncode == 5
    assert "published" in said.stdout
    assert "127.0.0.1:1" in said.stdout
    assert "STATE_DISCONNECTED" in said.stderr


def test_subscriptions_say_who_listens_to_what(trunkline: Trunkline, follow: Follow, channel: str) -> None:
    """Filtered by pattern, in both formats."""
    follow("subscribe", channel, "--group", "readers", until="subscribed")
    (found,) = json.loads(trunkline("subscriptions", "--pattern", channel, "--format", "json").stdout)
    assert (found["pattern"], found["group"]) == (channel, "readers")
    table = trunkline("subscriptions", "--pattern", channel).stdout
    assert channel in table
    assert "readers" in table


def test_services_can_be_watched(environment: dict[str, str]) -> None:
    """Anew until interrupted."""
    watch = command(["services", "--watch", "--interval", "0.1", "--format", "json"])
    with subprocess.Popen(watch, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as watcher:
        assert watcher.stdout is not None
        assert watcher.stderr is not None
        answers = [json.loads(watcher.stdout.readline()) for _ in range(3)]
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(20) == 130
        assert "Traceback" not in watcher.stderr.read()
    assert all(answer["bus"]["engine"] == "sqlite" for answer in answers)
