"""What the commands say of a bus of several replicas, whichever of them is asked."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.cli.conftest import Follow, Trunkline
from tests.patience import PATIENCE
from tests.redis.replicas import Replicas, stats
from tests.redis.servers import running


@pytest.fixture(scope="module")
def replicas() -> Iterator[Replicas]:
    with running() as redis:
        two = Replicas(redis, 2)
        try:
            yield two.start()
        finally:
            two.end()


@pytest.fixture
def bus_address(replicas: Replicas) -> str:
    """Of the replica that does not own the journal: what it says of that it has to ask for."""
    return replicas.others[0].address


@pytest.fixture
def state_address() -> str:
    """No state service is asked here."""
    return "127.0.0.1:1"


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def _lines(shown: str, *words: str) -> list[str]:
    return [line for line in shown.splitlines() if all(word in line for word in words)]


def test_services_show_every_replica_and_who_owns_the_journal(
    trunkline: Trunkline, replicas: Replicas, channel: str
) -> None:
    """Each with its own figures; those of the journal are the owner's, also where another is asked."""
    owner, (other,) = replicas.settle(), replicas.others
    names = {each.address: stats(each.address).replica for each in (owner, other)}
    assert trunkline("--bus", owner.address, "publish", channel, "--stored").returncode == 0
    assert trunkline("publish", channel, "--count", "5").returncode == 0
    for asked in (owner, other):
        shown = trunkline("--bus", asked.address, "services").stdout
        (row,) = _lines(shown, names[owner.address], owner.address)
        assert "owner" in row
        (row,) = _lines(shown, names[other.address], other.address)
        assert "owner" not in row
        bus = json.loads(trunkline("--bus", asked.address, "services", "--format", "json").stdout)["bus"]
        assert bus["address"] == asked.address
        assert bus["journal_owner"] == owner.address
        assert bus["stored"] >= 1
        by_address = {each["address"]: each for each in (bus, *bus["others"])}
        assert {address: each["replica"] for address, each in by_address.items()} == names
        assert by_address[other.address]["published"] >= 5
        assert all(each["others"] == [] for each in bus["others"])


def test_a_replica_that_does_not_answer_is_shown_as_such(trunkline: Trunkline, replicas: Replicas) -> None:
    """It is known until its lease ends; its figures are not, and whoever asks does not wait for them."""
    owner, (other,) = replicas.settle(), replicas.others
    name = stats(other.address).replica
    other.process.send_signal(signal.SIGSTOP)
    try:
        (row,) = _lines(trunkline("--bus", owner.address, "services").stdout, name)
        assert "no answer" in row
    finally:
        other.process.send_signal(signal.SIGCONT)
    _until(lambda: [each.replica for each in stats(owner.address).others] == [name])


def test_subscriptions_and_durables_say_which_replica_has_them(
    trunkline: Trunkline, follow: Follow, replicas: Replicas, channel: str, name: str
) -> None:
    """A live one is where its subscriber is connected, a durable one with the owner of the journal."""
    owner, (other,) = replicas.settle(), replicas.others
    owner_name, other_name = stats(owner.address).replica, stats(other.address).replica
    trunkline("durable", "create", name, channel)
    assert f"replica         {owner_name}\n" in trunkline("durable", "show", name).stdout
    follow("subscribe", channel, until="subscribed")
    follow("subscribe", "--durable", name, until="subscribed")
    for asked in (owner, other):
        at = "--bus", asked.address
        (row,) = _lines(trunkline(*at, "durable", "list").stdout, name)
        assert row.rstrip().endswith(owner_name)
        assert json.loads(trunkline(*at, "durable", "show", name, "--format", "json").stdout)["replica"] == owner_name
        found = json.loads(trunkline(*at, "subscriptions", "--pattern", channel, "--format", "json").stdout)
        assert {(each["durable"], each["replica"]) for each in found} == {("", other_name), (name, owner_name)}


def test_questions_are_answered_by_whichever_replica_is_asked(
    trunkline: Trunkline, follow: Follow, replicas: Replicas, name: str, channel: str
) -> None:
    """Live subscribers at one, the journal at another; an event says which replica knows it."""
    owner, (other,) = replicas.settle(), replicas.others
    owner_name, other_name = (stats(each.address).replica for each in (owner, other))
    assert trunkline("durable", "create", name, channel).returncode == 0
    follow("subscribe", channel, until="subscribed")
    stored = json.loads(trunkline("--bus", owner.address, "publish", channel, "--stored", "--format", "json").stdout)
    for asked in (owner, other):
        at = "--bus", asked.address
        explained = json.loads(trunkline(*at, "explain", channel, "--format", "json").stdout)
        assert [each["subscription"]["replica"] for each in explained["recipients"]] == [other_name]
        assert [each["subscription"]["replica"] for each in explained["keepers"]] == [owner_name]
        assert explained["unheard"] == []

        def delivered(at: tuple[str, str] = at) -> bool:
            traced = json.loads(trunkline(*at, "trace", stored["message_id"], "--format", "json").stdout)
            known = {(each["kind"], each["replica"]) for each in traced["events"]}
            assert [each["replica"] for each in traced["states"]] == [owner_name]
            return known == {("stored", owner_name), ("delivered", other_name)}

        _until(delivered)
        stands = json.loads(trunkline(*at, "stuck", "--older-than", "0", "--limit", "1000", "--format", "json").stdout)
        assert [each["subscription"]["name"] for each in stands["durables"]] == [name]
        assert {each["replica"] for each in stands["connections"]} >= {other_name}
