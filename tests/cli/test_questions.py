"""explain, trace, stuck and tail against a real bus: what somebody asks who is woken at night."""

from __future__ import annotations

import json
import time
from uuid import uuid4

from tests.cli.conftest import Follow, Trunkline
from tests.patience import PATIENCE


def test_who_would_get_a_message_is_shown(trunkline: Trunkline, follow: Follow, name: str, channel: str) -> None:
    """In a table with the reasons, and for scripts."""
    trunkline("durable", "create", name, f"{channel}:*")
    follow("subscribe", f"{channel}:>", until="subscribed")
    said = trunkline("explain", f"{channel}:a")
    assert said.returncode == 0, said.stderr
    rows = {line.split()[0]: line for line in said.stdout.splitlines() if channel in line}
    assert "it only looks on, and answers no request" in rows["gets"]
    assert "nobody is connected who takes from it" in rows["if"]
    assert "kept in memory, no rule stores it" in said.stdout
    assert "would fail with NO_RESPONDERS" in said.stdout
    told = json.loads(trunkline("explain", f"{channel}:a", "--format", "json").stdout)
    assert told["recipients"][0]["verdict"] == "gets"
    assert told["keepers"][0]["subscription"]["name"] == name
    assert "nobody subscribes" in trunkline("explain", f"{name}:other", "--others", "0").stdout
    bad = trunkline("explain", "a:*")
    assert (bad.returncode, "INVALID_CHANNEL" in bad.stderr) == (1, True)


def test_what_happened_to_a_message_is_shown(trunkline: Trunkline, follow: Follow, name: str, channel: str) -> None:
    """And where it is now; exit code 3 where nothing is known of it."""
    trunkline("durable", "create", name, channel)
    receipt = json.loads(trunkline("publish", channel, "--stored", "--format", "json").stdout)
    shown = trunkline("trace", receipt["message_id"]).stdout
    assert "stored" in shown
    (state,) = [line for line in shown.splitlines() if line.startswith("waiting")]
    assert name in state
    follow("subscribe", "--durable", name, "--no-ack", until="subscribed")
    end = time.monotonic() + PATIENCE
    while "handed out" not in (shown := trunkline("trace", receipt["message_id"]).stdout):
        assert time.monotonic() < end, shown
    (state,) = [line for line in shown.splitlines() if line.startswith("leased")]
    told = json.loads(trunkline("trace", receipt["message_id"], "--format", "json").stdout)
    assert [each["kind"] for each in told["events"]] == ["stored", "handed_out"]
    assert told["states"][0]["state"] == "leased"
    unknown = trunkline("trace", uuid4().hex)
    assert (unknown.returncode, "nothing is known of it" in unknown.stdout) == (3, True)
    assert trunkline("trace").returncode == 2


def test_what_is_stuck_is_shown(trunkline: Trunkline, follow: Follow, name: str, channel: str) -> None:
    """A held message with who holds it; what waits with the reason; what is none of it is said to be none."""
    trunkline("durable", "create", name, channel)
    trunkline("publish", channel, "--stored")
    follow("subscribe", "--durable", name, "--no-ack", until="subscribed")
    end = time.monotonic() + PATIENCE
    while True:
        told = json.loads(trunkline("stuck", "--older-than", "0", "--limit", "1000", "--format", "json").stdout)
        held = [each for each in told["in_flight"] if each["durable"] == name]
        if held:
            break
        assert time.monotonic() < end
    assert held[0]["connected"] is True
    assert held[0]["messages"] == 1
    shown = trunkline("stuck", "--older-than", "0", "--limit", "1000").stdout
    (row,) = [line for line in shown.splitlines() if line.startswith(name)]
    assert held[0]["holder"] in row
    assert "Requests that wait for their answer" in shown
    assert "What connections hold" in shown
    wrong = trunkline("stuck", "--older-than", "8d")
    assert (wrong.returncode, "older_than" in wrong.stderr) == (1, True)


def test_live_traffic_is_shown_thinned_out(trunkline: Trunkline, follow: Follow, channel: str) -> None:
    """With its payloads decoded; what is beyond the rate is counted."""
    tail = follow("tail", f"{channel}:>", "--rate", "2", "--count", "3", "--decode", until="subscribed")
    assert trunkline("publish", f"{channel}:a", '{"step": 1}', "--count", "50").returncode == 0
    end = time.monotonic() + PATIENCE
    while tail.poll() is None:
        assert time.monotonic() < end
        trunkline("publish", f"{channel}:a", '{"step": 2}')
    shown, notes = tail.communicate()
    assert tail.returncode == 0
    assert shown.count(f"{channel}:a") == 3
    assert '      "step": 1\n' in shown
    assert "left out" in notes
