"""publish --stored and subscribe --durable against a real bus."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import Any

import pytest

from tests.cli.conftest import Follow, Trunkline
from tests.cli.deaths import Death, let_die
from tests.patience import PATIENCE
from tests.programs import RunningProgram, command


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def _has(trunkline: Trunkline, name: str, *at: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(trunkline(*at, "durable", "show", name, "--format", "json").stdout)
    return told


def test_a_stored_publish_shows_its_receipt(trunkline: Trunkline, channel: str) -> None:
    """What was reached, and its place; the same message id again is a duplicate, with the first one's place."""
    wanted = ("publish", channel, '{"n": 1}', "--stored", "--message-id", f"id-{channel}")
    first = trunkline(*wanted)
    assert first.stdout.startswith(f"stored id-{channel} on {channel}: sequence ")
    assert first.stdout.rstrip().endswith(", for 0 subscriptions")
    again = json.loads(trunkline(*wanted, "--format", "json").stdout)
    assert (again["channel"], again["message_id"]) == (channel, f"id-{channel}")
    assert (again["durability"], again["duplicate"]) == ("stored", True)
    assert f"sequence {again['sequence']:,}, " in first.stdout
    assert trunkline(*wanted).stdout.startswith("duplicate of ")


def test_a_receipt_tells_how_many_it_was_for(trunkline: Trunkline, name: str, channel: str) -> None:
    """To people and to scripts."""
    trunkline("durable", "create", name, channel)
    assert trunkline("publish", channel, "{}", "--stored").stdout.rstrip().endswith(", for 1 subscription")
    [receipt] = _lines(trunkline("publish", channel, "{}", "--stored", "--format", "json").stdout)
    assert (receipt["matched"], receipt["held_by_sidecar"]) == (1, False)


def test_many_are_in_flight_and_summed_up(trunkline: Trunkline, channel: str) -> None:
    """A receipt for each to scripts, in order of the input; a line to people."""
    text = "".join(f'{{"n": {number}}}\n' for number in range(500))
    receipts = _lines(trunkline("publish", channel, "-", "--stored", "--format", "json", input=text).stdout)
    sequences = [receipt["sequence"] for receipt in receipts]
    assert len(set(sequences)) == 500
    assert sequences == sorted(sequences)
    said = trunkline("publish", channel, "--stored", "--count", "200").stdout
    assert said.startswith(f"stored 200 messages on {channel}, sequences ")


def test_lines_before_a_bad_one_are_stored(trunkline: Trunkline, channel: str) -> None:
    """Their receipts are said, then what is wrong."""
    said = trunkline("publish", channel, "-", "--stored", "--format", "json", input='{"n": 1}\n{"n": 2}\nno\n')
    assert said.returncode == 2
    assert len(_lines(said.stdout)) == 2
    assert "line 3 of standard input is no JSON" in said.stderr


def test_a_message_can_be_held_back(trunkline: Trunkline, name: str, channel: str) -> None:
    """It is stored, says until when, and is not handed out before."""
    trunkline("durable", "create", name, channel)
    later = trunkline("publish", channel, '{"n": "later"}', "--stored", "--deliver-after", "1h").stdout
    assert ", held back until " in later
    trunkline("publish", channel, '{"n": "soon"}', "--stored", "--deliver-after", "0.2")
    trunkline("publish", channel, '{"n": "past"}', "--stored", "--deliver-at", "2020-01-01T00:00:00Z")
    taken = trunkline("subscribe", "--durable", name, "--count", "2", "--timeout", "20", "--format", "json")
    assert {each["payload"]["n"] for each in _lines(taken.stdout)} == {"soon", "past"}


def test_an_ordering_key_reaches_the_journal(trunkline: Trunkline, follow: Follow, name: str, channel: str) -> None:
    """One at a time, in order: whoever holds the first does not get the second."""
    trunkline("durable", "create", name, channel)
    trunkline("publish", channel, "-", "--stored", "--ordering-key", "k", input='{"n": 1}\n{"n": 2}\n')
    holder = follow("subscribe", "--durable", name, "--no-ack", "--format", "json", until='"durable"')
    assert holder.stdout is not None
    first = json.loads(holder.stdout.readline())
    time.sleep(0.5)  # in which the second does not come
    holder.send_signal(signal.SIGINT)
    assert holder.communicate()[0] == ""
    assert (first["payload"], first["ordering_key"], first["attempt"]) == ({"n": 1}, "k", 1)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--ordering-key", "k"), 2, "--ordering-key needs --stored"),
        (("--deliver-after", "1"), 2, "--deliver-after needs --stored"),
        (("--deliver-at", "2030-01-01"), 2, "--deliver-at needs --stored"),
        (("--stored", "--deliver-at", "soon"), 2, "'soon' is no time"),
        (("--stored", "--deliver-after", "-1"), 1, "deliver_after is -1 s"),
        (("--stored", "--deliver-after", "500d"), 1, "deliver_after is"),
        (("--stored", "--deliver-after", "1", "--deliver-at", "2030-01-01"), 1, "both set"),
        (("--stored", "--ordering-key", "k" * 300), 1, "ordering_key has 300 bytes"),
        (("--stored", "--message-id", ""), 2, "message_id"),
    ],
)
def test_what_does_not_go_together_is_said(
    trunkline: Trunkline, channel: str, options: tuple[str, ...], code: int, words: str
) -> None:
    """By name, and nothing is published."""
    said = trunkline("publish", channel, *options)
    assert (said.returncode, said.stdout) == (code, "")
    assert words in said.stderr


def test_one_id_is_not_given_to_many(trunkline: Trunkline, channel: str) -> None:
    """All but the first would be lost as duplicates."""
    said = trunkline("publish", channel, "-", "--stored", "--message-id", "a", input="{}\n{}\n")
    assert said.returncode == 2
    assert "--message-id names one message" in said.stderr


def test_subscribe_acks_what_it_has_shown(trunkline: Trunkline, name: str, channel: str) -> None:
    """What came is done; what did not come stays for the others, unleased."""
    trunkline("durable", "create", name, channel)
    trunkline("publish", channel, "--stored", "--count", "5")
    taken = trunkline("subscribe", channel, "--durable", name, "--count", "3", "--timeout", "20")
    assert taken.returncode == 0
    assert len(taken.stdout.splitlines()) == 3
    assert f"subscribed to {channel} as {name}: what is shown is acked" in taken.stderr
    has = _has(trunkline, name)
    assert (has["acked"], has["leased"], has["waiting"] + has["retrying"]) == (3, 0, 2)


def test_the_first_one_of_a_name_makes_it(trunkline: Trunkline, name: str, channel: str) -> None:
    """From where it is told; without a pattern there is nothing to make."""
    trunkline("publish", channel, "--stored", "--count", "2")
    unknown = trunkline("subscribe", "--durable", name)
    assert unknown.returncode == 3
    assert "say a PATTERN to make it" in unknown.stderr
    taken = trunkline("subscribe", channel, "--durable", name, "--start", "all", "--count", "2", "--timeout", "20")
    assert len(taken.stdout.splitlines()) == 2
    other = trunkline("subscribe", f"{channel}:x", "--durable", name)
    assert other.returncode == 1
    assert other.stderr.endswith("(SUBSCRIPTION_EXISTS)\n")


def test_a_look_changes_nothing(trunkline: Trunkline, follow: Follow, name: str, channel: str) -> None:
    """With --no-ack all is given back when it ends, by itself or by an interrupt, and no attempt was counted."""
    trunkline("durable", "create", name, channel, "--max-deliveries", "1")
    trunkline("publish", channel, "--stored", "--count", "3")
    look = trunkline("subscribe", "--durable", name, "--no-ack", "--count", "2", "--timeout", "20")
    assert len(look.stdout.splitlines()) == 2
    assert "gave back 2 messages" in look.stderr
    watcher = follow("subscribe", "--durable", name, "--no-ack", "--format", "json", until='"durable"')
    assert watcher.stdout is not None
    assert [json.loads(watcher.stdout.readline())["attempt"] for _ in range(3)] == [1, 1, 1]
    watcher.send_signal(signal.SIGINT)
    _, notes = watcher.communicate(timeout=PATIENCE)
    assert (watcher.returncode, json.loads(notes)) == (130, {"event": "given_back", "messages": 3})
    has = _has(trunkline, name)
    assert (has["leased"], has["waiting"] + has["retrying"], has["dead_lettered"]) == (0, 3, 0)


def test_what_is_held_outlives_its_lease(trunkline: Trunkline, follow: Follow, name: str, channel: str) -> None:
    """The lease is extended while it looks: nobody else gets the message."""
    trunkline("durable", "create", name, channel, "--ack-wait", "0.3")
    trunkline("publish", channel, "--stored")
    watcher = follow("subscribe", "--durable", name, "--no-ack", until="subscribed")
    assert watcher.stdout is not None
    assert channel in watcher.stdout.readline()
    assert trunkline("subscribe", "--durable", name, "--count", "1", "--timeout", "1.5").returncode == 4


def test_what_is_lost_to_others_is_said(trunkline: Trunkline, follow: Follow, name: str, channel: str) -> None:
    """Somebody moved the subscription: what was held is no more, and is not given back."""
    trunkline("durable", "create", name, channel, "--ack-wait", "0.3")
    sequence = json.loads(trunkline("publish", channel, "--stored", "--format", "json").stdout)["sequence"]
    watcher = follow("subscribe", "--durable", name, "--no-ack", "--format", "json", until='"durable"')
    assert watcher.stdout is not None
    assert watcher.stderr is not None
    assert json.loads(watcher.stdout.readline())["sequence"] == sequence
    trunkline("durable", "seek", name, "--to", "new")
    refused = json.loads(watcher.stderr.readline())
    assert (refused["event"], refused["sequences"]) == ("refused", [sequence])
    watcher.send_signal(signal.SIGINT)
    assert watcher.communicate(timeout=PATIENCE)[1] == ""


def test_a_start_that_cannot_be_is_refused(trunkline: Trunkline, name: str, channel: str) -> None:
    """As `durable create` refuses it."""
    said = trunkline("subscribe", channel, "--durable", name, "--start", "0")
    assert said.returncode == 1
    assert "position.sequence is 0" in said.stderr


def test_the_attempt_is_shown_from_the_second_on(
    trunkline: Trunkline, bus_address: str, name: str, channel: str
) -> None:
    """Somebody may have begun with it before."""
    let_die(bus_address, name, channel, Death(channel, "x"))
    trunkline("dead-letters", "redrive", "--durable", name)
    (line,) = trunkline("subscribe", "--durable", name, "--count", "1", "--timeout", "20").stdout.splitlines()
    assert line.split("  ")[4] == "attempt 2"


def test_a_reader_that_leaves_gives_the_rest_back(
    trunkline: Trunkline, environment: dict[str, str], name: str, channel: str
) -> None:
    """`| head -1`: what nobody read is not acked, and not leased to nobody."""
    trunkline("durable", "create", name, channel)
    trunkline("publish", channel, "--stored", "--count", "5")
    take = command(["subscribe", "--durable", name])
    with subprocess.Popen(take, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as taker:
        assert taker.stdout is not None
        assert taker.stderr is not None
        assert channel in taker.stdout.readline()
        taker.stdout.close()
        trunkline("publish", channel, "--stored")
        assert taker.wait(20) == 141
        assert "Traceback" not in taker.stderr.read()
    has = _has(trunkline, name)
    assert has["leased"] == 0
    assert has["acked"] >= 1
    assert has["waiting"] + has["retrying"] == 6 - has["acked"]


def test_it_goes_on_when_the_bus_comes_back(
    trunkline: Trunkline, follow: Follow, killable_bus: RunningProgram, name: str, channel: str
) -> None:
    """What was stored while nobody was connected comes too."""
    at = ("--bus", killable_bus.address)
    trunkline(*at, "durable", "create", name, channel)
    watcher = follow(*at, "subscribe", "--durable", name, "--count", "2", "--format", "json", until="subscribed")
    trunkline(*at, "publish", channel, '{"n": 1}', "--stored")
    assert watcher.stdout is not None
    assert watcher.stderr is not None
    assert json.loads(watcher.stdout.readline())["payload"] == {"n": 1}
    killable_bus.stop()
    assert json.loads(watcher.stderr.readline())["event"] == "disconnected"
    killable_bus.start()
    trunkline(*at, "publish", channel, '{"n": 2}', "--stored")
    shown, _ = watcher.communicate(timeout=PATIENCE)
    assert json.loads(shown)["payload"] == {"n": 2}
    assert _has(trunkline, name, *at)["leased"] == 0


def test_a_deleted_one_ends_its_takers(trunkline: Trunkline, follow: Follow, name: str, channel: str) -> None:
    """With exit code 3, as what is not there."""
    watcher = follow("subscribe", channel, "--durable", name, until="subscribed")
    trunkline("durable", "delete", name, "--yes")
    _, notes = watcher.communicate(timeout=PATIENCE)
    assert watcher.returncode == 3
    assert notes.endswith("(SUBSCRIPTION_NOT_FOUND)\n")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--durable", "a", "--group", "g"), "--group and --durable do not go together"),
        (("--no-ack",), "--no-ack needs --durable"),
        (("--start", "all"), "--start needs --durable"),
    ],
)
def test_options_of_a_durable_one_need_it(trunkline: Trunkline, options: tuple[str, ...], words: str) -> None:
    """Wrong usage, said by name."""
    said = trunkline("subscribe", "a", *options)
    assert said.returncode == 2
    assert words in said.stderr
