"""tasks submit, list, show, follow and cancel against a real bus."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.conftest import Trunkline
from trunkline.sync import MessageBus


def _told(trunkline: Trunkline, *arguments: str) -> list[dict[str, Any]]:
    said = trunkline("tasks", *arguments, "--format", "json")
    assert said.returncode == 0, said.stderr
    return [json.loads(line) for line in said.stdout.splitlines()]


def test_a_task_is_submitted_and_followed(trunkline: Trunkline, bus_address: str, name: str, channel: str) -> None:
    trunkline("durable", "create", name, channel)
    said = trunkline("tasks", "submit", channel, '{"n": 7}', "--id", name)
    assert said.stdout == f"submitted {name} to {name}\n"
    (waiting,) = _told(trunkline, "show", name)
    assert (waiting["state"], waiting["durable"], waiting["end"]) == ("waiting", name, None)
    with MessageBus(bus_address) as bus:
        messages = bus.messages(channel, durable=name)
        next(messages).nak("not yet", delay=0)
        next(messages).ack()
        assert bus.task(name).result(30) is None
    events = _told(trunkline, "follow", name)
    assert [event["event"] for event in events] == ["postponed", "result"]
    assert events[0]["error"] == "not yet"
    followed = trunkline("tasks", "follow", name, "--after", "1")
    assert (followed.returncode, followed.stdout.rstrip().endswith("  result")) == (0, True)
    listed = trunkline("tasks", "list", "--durable", name)
    assert name in listed.stdout
    assert "done" in listed.stdout
    assert "end" in trunkline("tasks", "show", name).stdout
    assert trunkline("tasks", "list", "--durable", name, "--status", "failed").stdout == "there are no such tasks\n"


def test_a_task_is_cancelled(trunkline: Trunkline, name: str, channel: str) -> None:
    trunkline("durable", "create", name, channel)
    trunkline("tasks", "submit", channel, "--id", name)
    said = trunkline("tasks", "cancel", name, "--by", "me", "--reason", "no need")
    assert said.stdout == f"{name} is cancelled\n"
    followed = trunkline("tasks", "follow", name)
    assert followed.returncode == 1
    assert followed.stdout.rstrip().endswith("cancelled by me: no need")


def test_what_there_is_not(trunkline: Trunkline, name: str, channel: str) -> None:
    for verb in ("show", "follow", "cancel"):
        said = trunkline("tasks", verb, name)
        assert said.returncode == 3
        assert said.stderr.endswith("(TASK_NOT_FOUND)\n")
    said = trunkline("tasks", "submit", channel)
    assert said.returncode == 1
    assert said.stderr.endswith("(NO_RESPONDERS)\n")
