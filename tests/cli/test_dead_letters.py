"""dead-letters list, show, redrive and purge against a real bus, of messages that really died."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import OnTerminal, Trunkline
from tests.cli.deaths import Death, die_again, let_die
from tests.programs import RunningProgram


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_list_shows_the_newest_first_and_how_many_more(
    trunkline: Trunkline, bus_address: str, name: str, channel: str
) -> None:
    """One line each in a pipe, whatever the error holds; the rest is counted, and the filter is the caller's."""
    deaths = [Death(channel, f"no such file {number}\n\x1b[31mtwo lines") for number in range(4)]
    first, *_, last = let_die(bus_address, name, channel, *deaths)
    said = trunkline("dead-letters", "list", "--durable", name, "--limit", "3")
    heading, *lines = said.stdout.splitlines()
    assert heading.split() == ["id", "died", "subscription", "channel", "type", "reason", "error"]
    assert len(lines) == 3
    assert lines[0].split()[0] == str(last)
    assert lines[0].endswith("RuntimeError: no such file 3 \\x1b[31mtwo lines")
    assert all(word in lines[0] for word in (name, channel, "task_assignment", "max_deliveries", " s ago"))
    assert said.stderr == "-- showing 3 of 4, the newest; --limit 4 shows all\n"
    assert str(first) in trunkline("dead-letters", "list", "--durable", name).stdout


def test_every_filter_finds_what_it_says(trunkline: Trunkline, bus_address: str, name: str, channel: str) -> None:
    """Alone and together; one that matches nothing says so, and is no error."""
    hopeless = Death(f"{channel}:a", "never", hopeless=True, message_type="control", sender="alice")
    one, two = let_die(bus_address, name, f"{channel}:*", hopeless, Death(f"{channel}:b", "disk full"))
    whole = _lines(trunkline("dead-letters", "list", "--durable", name, "--format", "json").stdout)
    message_id = next(each["message"]["message_id"] for each in whole if each["dead_letter_id"] == two)

    def found(*filters: str) -> set[int]:
        said = trunkline("dead-letters", "list", "--durable", name, "--format", "json", *filters)
        listed = {each["dead_letter_id"] for each in _lines(said.stdout)}
        assert json.loads(said.stderr) == {"event": "listed", "shown": len(listed), "total": len(listed)}
        return listed

    assert found() == {one, two}
    assert found("--reason", "terminated") == found("--type", "control") == found("--sender", "alice") == {one}
    assert found("--channel", f"{channel}:b") == found("--error", "disk") == found("--message-id", message_id) == {two}
    assert found("--channel", f"{channel}:>", "--since", "1h") == {one, two}
    assert found("--before", "1h") == found("--reason", "expired") == set()
    nothing = trunkline("dead-letters", "list", "--durable", name, "--sender", "it is me")
    assert (nothing.returncode, nothing.stdout) == (0, f"no dead letter matches --durable {name} --sender 'it is me'\n")


def test_show_tells_all_that_is_known(trunkline: Trunkline, bus_address: str, name: str, channel: str) -> None:
    """Why it died, where it comes from, who tried and for how long, and what it carries."""
    error = "no such file\n  line two"
    (id,) = let_die(bus_address, name, channel, Death(channel, error, payload={"file": "größer.py"}))
    shown = trunkline("dead-letters", "show", str(id)).stdout
    assert shown.startswith(f"dead letter {id}: max_deliveries, handed out once and never done\n")
    for words in (name, channel, "RuntimeError: no such file\n", "line two\n", "coordinator", "attempts: 1", "held "):
        assert words in shown
    assert '{\n  "file": "größer.py"\n}' in shown
    told = json.loads(trunkline("dead-letters", "show", str(id), "--format", "json").stdout)
    assert (told["durable"], told["pattern"], told["channel"], told["reason"]) == (
        name,
        channel,
        channel,
        "max_deliveries",
    )
    (attempt,) = told["attempts"]
    assert (attempt["number"], attempt["error"]) == (1, f"RuntimeError: {error}")
    assert attempt["seconds"] >= 0
    assert attempt["peer"]
    assert told["message"]["payload"] == {"file": "größer.py"}


def test_redrive_by_id_gives_it_back(trunkline: Trunkline, bus_address: str, name: str, channel: str) -> None:
    """Once said what would be, then done: it waits again, and is no dead letter any more."""
    one, two = let_die(bus_address, name, channel, Death(channel, "a", payload={"n": 1}), Death(channel, "b"))
    dry = trunkline("dead-letters", "redrive", str(one), "--dry-run")
    assert dry.stdout == f"would redrive 1 dead letter: {one}\n"
    assert trunkline("dead-letters", "redrive", str(one)).stdout == f"redriven 1 dead letter: {one}\n"
    taken = trunkline("subscribe", "--durable", name, "--count", "1", "--timeout", "20", "--format", "json")
    assert json.loads(taken.stdout)["payload"] == {"n": 1}
    left = trunkline("dead-letters", "list", "--durable", name, "--format", "json")
    assert [each["dead_letter_id"] for each in _lines(left.stdout)] == [two]


def test_redrive_by_filter_says_what_stays(trunkline: Trunkline, bus_address: str, name: str, channel: str) -> None:
    """The oldest first, up to the limit."""
    ids = let_die(bus_address, name, channel, *(Death(channel, "x") for _ in range(3)))
    said = trunkline("dead-letters", "redrive", "--durable", name, "--limit", "2")
    assert said.stdout.splitlines()[0] == f"redriven 2 dead letters: {ids[0]}, {ids[1]}"
    assert said.stdout.splitlines()[1].startswith("1 more match, beyond the limit")
    told = json.loads(trunkline("dead-letters", "redrive", "--durable", name, "--format", "json").stdout)
    assert told == {
        "redriven": 1,
        "guarded": 0,
        "orphaned": 0,
        "remaining": 0,
        "dead_letter_ids": [ids[2]],
        "dry_run": False,
    }
    nothing = trunkline("dead-letters", "redrive", "--durable", name)
    assert (nothing.returncode, nothing.stdout) == (0, f"no dead letter matches --durable {name}\n")


def test_what_was_redriven_often_is_guarded(
    trunkline: Trunkline, killable_bus: RunningProgram, name: str, channel: str
) -> None:
    """A message that can never be done does not go in circles, unless somebody insists."""
    at = ("--bus", killable_bus.address)
    (id,) = let_die(killable_bus.address, name, channel, Death(channel, "x"))
    for _ in range(3):
        assert "redriven 1" in trunkline(*at, "dead-letters", "redrive", str(id)).stdout
        id = die_again(killable_bus.address, name, channel)
    by_filter = trunkline(*at, "dead-letters", "redrive", "--all")
    assert by_filter.returncode == 0
    assert "1 stay, guarded: redriven 3 times before; --force redrives them too" in by_filter.stdout
    by_id = trunkline(*at, "dead-letters", "redrive", str(id))
    assert by_id.returncode == 1
    assert "redriven 0 dead letters" in by_id.stdout
    assert "redriven 3 times" in trunkline(*at, "dead-letters", "list").stdout
    assert "redriven 1 dead letter" in trunkline(*at, "dead-letters", "redrive", str(id), "--force").stdout


def test_an_orphan_is_said_to_be_one(trunkline: Trunkline, bus_address: str, name: str, channel: str) -> None:
    """Its durable subscription was deleted: by filter it is counted, by id it is refused."""
    (id,) = let_die(bus_address, name, channel, Death(channel, "x"))
    assert trunkline("durable", "delete", name, "--yes").stdout == f"deleted {name}\n"
    by_filter = trunkline("dead-letters", "redrive", "--durable", name, "--dry-run")
    assert "1 would stay, orphaned: their durable subscription was deleted" in by_filter.stdout
    by_id = trunkline("dead-letters", "redrive", str(id))
    assert by_id.returncode == 3
    assert by_id.stderr.endswith("(SUBSCRIPTION_NOT_FOUND)\n")


def test_purge_asks_on_a_terminal(
    trunkline: Trunkline, on_terminal: OnTerminal, bus_address: str, name: str, channel: str
) -> None:
    """A no leaves everything, a yes removes what was named."""
    let_die(bus_address, name, channel, Death(channel, "x"), Death(channel, "y"))
    wanted = ("dead-letters", "purge", "--durable", name)
    code, shown = on_terminal(*wanted, typed="n\n")
    assert code == 1
    assert f"Purge 2 dead letters for good (--durable {name})? [y/N]" in shown
    assert "nothing was done" in shown
    code, shown = on_terminal(*wanted, typed="y\n")
    assert code == 0
    assert "purged 2 dead letters" in shown
    assert trunkline(*wanted, "--yes").stdout == f"no dead letter matches --durable {name}\n"


def test_purge_without_a_terminal_needs_a_word(trunkline: Trunkline, bus_address: str, name: str, channel: str) -> None:
    """Refused before anything is called; a dry run and --yes go through."""
    let_die(bus_address, name, channel, Death(channel, "x"))
    refused = trunkline("dead-letters", "purge", "--durable", name)
    assert refused.returncode == 2
    assert "purge needs --yes here" in refused.stderr
    assert trunkline("dead-letters", "purge", "--durable", name, "--dry-run").stdout == "would purge 1 dead letter\n"
    told = trunkline("dead-letters", "purge", "--durable", name, "--yes", "--format", "json")
    assert json.loads(told.stdout) == {"purged": 1, "dry_run": False}


def test_a_terminal_gets_the_error_on_a_line_of_its_own(
    on_terminal: OnTerminal, bus_address: str, name: str, channel: str
) -> None:
    """Cut to the terminal's width."""
    let_die(bus_address, name, channel, Death(channel, "x" * 500))
    code, shown = on_terminal("dead-letters", "list", "--durable", name)
    assert code == 0
    error = shown.splitlines()[2]
    assert error.startswith("    RuntimeError: xxx")
    assert len(error) == 100
    assert error.endswith("x…")


@pytest.mark.parametrize("verb", ["redrive", "purge"])
@pytest.mark.parametrize("which", [(), ("--all", "--durable", "a"), ("1", "--all"), ("1", "--reason", "expired")])
def test_what_is_meant_must_be_said_in_one_way(trunkline: Trunkline, verb: str, which: tuple[str, ...]) -> None:
    """Nobody removes everything by leaving something out."""
    said = trunkline("dead-letters", verb, *which)
    assert said.returncode == 2
    assert f"say what to {verb}" in said.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("list", "--since", "yesterday"), "'yesterday' is no time"),
        (("list", "--reason", "bored"), "bored"),
        (("list", "--limit", "0"), "--limit"),
        (("show", "first"), "first"),
        (("redrive", "-1"), "-1"),
    ],
)
def test_bad_words_are_wrong_usage(trunkline: Trunkline, arguments: tuple[str, ...], words: str) -> None:
    """The message names the value."""
    said = trunkline("dead-letters", *arguments)
    assert said.returncode == 2
    assert words in said.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("show", "999999999"), 3, "DEAD_LETTER_NOT_FOUND"),
        (("redrive", "999999999"), 3, "DEAD_LETTER_NOT_FOUND"),
        (("purge", "999999999", "--yes"), 3, "DEAD_LETTER_NOT_FOUND"),
        (("list", "--channel", "a:>:b"), 1, "INVALID_CHANNEL"),
        (("list", "--since", "1h", "--before", "2h"), 1, "INVALID_MESSAGE"),
        (("redrive", "--all", "--limit", "10001"), 1, "INVALID_MESSAGE"),
    ],
)
def test_what_the_service_refuses_is_said(
    trunkline: Trunkline, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    """With the error's code, and for scripts with its details."""
    said = trunkline("dead-letters", *arguments)
    assert (said.returncode, said.stdout) == (code, "")
    assert said.stderr.endswith(f"({reason})\n")
    assert json.loads(trunkline("dead-letters", *arguments, "--format", "json").stderr)["error_code"] == reason


def test_an_unreachable_bus_is_5(trunkline: Trunkline) -> None:
    """As with every other command."""
    for arguments in (("list",), ("show", "1"), ("redrive", "--all"), ("purge", "--all", "--yes")):
        assert trunkline("--bus", "127.0.0.1:1", "dead-letters", *arguments).returncode == 5
