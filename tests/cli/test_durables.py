"""durable list, show, create, seek and delete against a real bus."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Follow, OnTerminal, Trunkline
from tests.cli.deaths import Death, let_die
from tests.programs import RunningProgram


def _told(trunkline: Trunkline, *arguments: str) -> dict[str, Any]:
    said = trunkline("durable", *arguments, "--format", "json")
    assert said.returncode == 0, said.stderr
    told: dict[str, Any] = json.loads(said.stdout)
    return told


def test_create_makes_it_once(trunkline: Trunkline, name: str, channel: str) -> None:
    """The same again is left as it is, another pattern is refused with both."""
    trunkline("publish", channel, "--stored", "--count", "3")
    made = trunkline("durable", "create", name, channel, "--start", "all")
    assert made.stdout.startswith(f"created {name} on {channel}: 3 waiting, next sequence ")
    again = trunkline("durable", "create", name, channel)
    assert (again.returncode, again.stdout.startswith(f"there was already {name}")) == (0, True)
    other = trunkline("durable", "create", name, f"{channel}:other")
    assert other.returncode == 1
    assert channel in other.stderr
    assert f"{channel}:other" in other.stderr
    assert other.stderr.endswith("(SUBSCRIPTION_EXISTS)\n")


def test_how_it_delivers_is_kept_as_it_was_said(trunkline: Trunkline, name: str, channel: str) -> None:
    """Spans in seconds or with units; for scripts in seconds."""
    backoff = ("--backoff-initial", "0.5", "--backoff-multiplier", "3", "--backoff-maximum", "1h30m")
    made = _told(trunkline, "create", name, channel, "--ack-wait", "5m", "--max-deliveries", "7", *backoff)
    assert made["created"] is True
    assert made["settings"] == {
        "ack_wait": 300.0,
        "max_deliveries": 7,
        "backoff_initial": 0.5,
        "backoff_multiplier": 3.0,
        "backoff_maximum": 5400.0,
        "max_leased": 0,
        "rate": 0.0,
        "burst": 0,
        "key_concurrency": 1,
    }
    shown = trunkline("durable", "show", name).stdout
    assert "500 ms, times 3 with each attempt, at most 1h 30m" in shown
    assert "max deliveries  7" in shown


def test_set_changes_what_is_named(trunkline: Trunkline, name: str, channel: str) -> None:
    """And nothing else; nothing named, or a figure that cannot be, is refused."""
    made = _told(trunkline, "create", name, channel, "--max-deliveries", "7", "--key-concurrency", "2")
    changed = _told(trunkline, "set", name, "--max-leased", "10", "--rate", "0.5", "--burst", "3", "--ack-wait", "2m")
    assert changed["settings"] == made["settings"] | {"max_leased": 10, "rate": 0.5, "burst": 3, "ack_wait": 120.0}
    shown = trunkline("durable", "show", name).stdout
    assert "most leased       10" in shown
    assert "0.5 messages a second, 3 at once" in shown
    assert trunkline("durable", "set", name).returncode == 2
    refused = trunkline("durable", "set", name, "--max-leased", "-3")
    assert (refused.returncode, "settings.max_leased is -3" in refused.stderr) == (1, True)
    assert trunkline("durable", "set", f"no-{name}", "--rate", "1").returncode == 3
    assert trunkline("durable", "set", name, "--rate", "0").stdout.startswith(f"changed {name} on {channel}: 0 waiting")


def test_pause_and_resume(trunkline: Trunkline, name: str, channel: str) -> None:
    """It says so wherever it is shown."""
    trunkline("durable", "create", name, channel)
    paused = trunkline("durable", "pause", name)
    assert (paused.returncode, paused.stdout.rstrip().endswith(", paused")) == (0, True)
    assert f"{name} (paused)" in trunkline("durable", "list").stdout
    assert "trunkline durable resume" in trunkline("durable", "show", name).stdout
    assert _told(trunkline, "show", name)["paused"] is True
    assert _told(trunkline, "resume", name)["paused"] is False
    assert trunkline("durable", "pause", f"no-{name}").returncode == 3


def test_list_shows_what_each_has(
    trunkline: Trunkline, follow: Follow, killable_bus: RunningProgram, channel: str
) -> None:
    """In order of their names, with who takes from it and what became of its messages."""
    at = ("--bus", killable_bus.address)
    assert trunkline(*at, "durable", "list").stdout == "there are no durable subscriptions\n"
    trunkline(*at, "durable", "create", "workers", channel)
    let_die(killable_bus.address, "auditors", channel, Death(channel, "x"))
    follow(*at, "subscribe", "--durable", "workers", "--no-ack", until="subscribed")
    auditors, workers = map(json.loads, trunkline(*at, "durable", "list", "--format", "json").stdout.splitlines())
    assert (auditors["name"], auditors["dead_lettered"], auditors["subscribers"]) == ("auditors", 1, 0)
    assert (workers["name"], workers["leased"] + workers["waiting"], workers["subscribers"]) == ("workers", 1, 1)
    heading, _, *rows = trunkline(*at, "durable", "list").stdout.splitlines()
    assert heading.split() == [
        *("name", "pattern", "waiting", "leased", "retrying", "subscribers", "acked", "redelivered", "dead")
    ]
    assert [row.split()[0] for row in rows] == ["auditors", "workers"]
    assert rows[0].split()[-1] == "1"


def test_show_points_at_the_dead_letters(trunkline: Trunkline, bus_address: str, name: str, channel: str) -> None:
    """With the command that lists them."""
    let_die(bus_address, name, channel, Death(channel, "x"))
    assert f"1; trunkline dead-letters list --durable {name}" in trunkline("durable", "show", name).stdout
    assert _told(trunkline, "show", name)["dead_letters"] == 1


def test_seek_moves_it(trunkline: Trunkline, name: str, channel: str) -> None:
    """To all, to a sequence, to a time, and to what comes."""
    stored = trunkline("publish", channel, "--stored", "--count", "4", "--format", "json").stdout.splitlines()
    third = json.loads(stored[2])
    trunkline("durable", "create", name, channel)
    assert trunkline("durable", "seek", name, "--to", "all").stdout.startswith(f"moved {name} on {channel}: 4 waiting")
    assert _told(trunkline, "seek", name, "--to", str(third["sequence"]))["waiting"] == 2
    assert _told(trunkline, "seek", name, "--to", "1h")["waiting"] == 4
    assert _told(trunkline, "seek", name, "--to", "new")["waiting"] == 0


def test_delete_asks_on_a_terminal(trunkline: Trunkline, on_terminal: OnTerminal, name: str, channel: str) -> None:
    """It says what would be lost; without a terminal it needs --yes."""
    trunkline("durable", "create", name, channel)
    trunkline("publish", channel, "--stored", "--count", "2")
    refused = trunkline("durable", "delete", name)
    assert refused.returncode == 2
    assert "delete needs --yes here" in refused.stderr
    code, shown = on_terminal("durable", "delete", name, typed="n\n")
    assert code == 1
    assert f"Delete {name} on {channel} for good (2 waiting, 0 leased, 0 retrying)?" in shown.replace("\n", "")
    code, shown = on_terminal("durable", "delete", name, typed="y\n")
    assert (code, f"deleted {name}" in shown) == (0, True)
    gone = trunkline("durable", "show", name)
    assert gone.returncode == 3
    assert gone.stderr.endswith("(SUBSCRIPTION_NOT_FOUND)\n")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("--ack-wait", "0.01"), "settings.ack_wait is 0.01 s"),
        (("--ack-wait", "2d"), "settings.ack_wait is 172800 s"),
        (("--max-deliveries", "0"), "settings.max_deliveries is 0"),
        (("--backoff-initial", "-1"), "settings.backoff.initial is -1 s"),
        (("--backoff-multiplier", "0.5"), "settings.backoff.multiplier is 0.5"),
        (("--start", "0"), "position.sequence is 0"),
    ],
)
def test_a_figure_out_of_bounds_is_named(
    trunkline: Trunkline, name: str, channel: str, options: tuple[str, ...], field: str
) -> None:
    """By the service, which knows the bounds; nothing is rounded."""
    said = trunkline("durable", "create", name, channel, *options)
    assert said.returncode == 1
    assert field in said.stderr
    assert said.stderr.endswith("(INVALID_MESSAGE)\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create", "a", "b", "--ack-wait", "soon"), "'soon' is neither seconds nor a span"),
        (("create", "a", "b", "--ack-wait", "nan"), "'nan' is no span"),
        (("create", "a", "b", "--start", "middle"), "'middle' is no time"),
        (("create", "a", "b", "--start", "99999999999999999999"), "is no sequence"),
        (("create", "a"), "PATTERN"),
        (("seek", "a"), "--to"),
    ],
)
def test_bad_words_are_wrong_usage(trunkline: Trunkline, arguments: tuple[str, ...], words: str) -> None:
    """The message names the value."""
    said = trunkline("durable", *arguments)
    assert said.returncode == 2
    assert words in said.stderr


def test_an_unreachable_bus_is_5(trunkline: Trunkline) -> None:
    """As with every other command."""
    for arguments in (("list",), ("show", "a"), ("create", "a", "b"), ("seek", "a", "--to", "all")):
        assert trunkline("--bus", "127.0.0.1:1", "durable", *arguments).returncode == 5


def test_what_waits_is_shown_cancelled_and_moved(trunkline: Trunkline, name: str, channel: str) -> None:
    """In a table and for scripts; what is to be done must be said, and for good only with --yes."""
    for each in (name, f"{name}-2"):
        trunkline("durable", "create", each, channel)
    assert trunkline("durable", "peek", name).stdout == "nothing waits\n"
    trunkline("publish", channel, "--stored", "--count", "4")
    peeked = [json.loads(line) for line in trunkline("durable", "peek", name, "--format", "json").stdout.splitlines()]
    assert [(each["channel"], each["attempts"], each["blocked_by_key"]) for each in peeked] == [(channel, 0, False)] * 4
    first, second, *_ = (str(each["sequence"]) for each in peeked)
    table = trunkline("durable", "peek", name, "--limit", "1").stdout.splitlines()
    assert len(table) == 3
    assert table[2].split()[0] == f"{int(first):,}"
    for verb in (("cancel", name), ("move", name, f"{name}-2")):
        assert trunkline("durable", *verb).returncode == 2
        assert trunkline("durable", *verb, "--all", "--channel", channel).returncode == 2
    assert trunkline("durable", "cancel", name, "--sequence", first).returncode == 2, "nobody can be asked"
    assert trunkline("durable", "cancel", name, "--all", "--dry-run").stdout == "would cancel 4 messages\n"
    assert _told(trunkline, "cancel", name, "--sequence", first, "--yes") == {
        "cancelled": 1,
        "leased": 0,
        "dry_run": False,
    }
    moved = trunkline("durable", "move", name, f"{name}-2", "--sequence", second)
    assert moved.stdout == f"moved 1 message to {name}-2\n"
    assert (_told(trunkline, "show", name)["waiting"], _told(trunkline, "show", f"{name}-2")["waiting"]) == (2, 5)
    assert trunkline("durable", "peek", f"no-{name}").returncode == 3
