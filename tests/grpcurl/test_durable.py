"""Durable subscriptions by hand: made, taken from, settled and refused, in plain text."""

from __future__ import annotations

from typing import Any

import pytest

from tests.grpcurl.conftest import Grpcurl, StartStream

BUS = "trunkline.v1.BusService"


def _store(grpcurl: Grpcurl, bus: str, channel: str, *payloads: str) -> list[dict[str, Any]]:
    """The receipts."""
    body = {"channel": channel, "messages": [{"json": each} for each in payloads], "durability": "DURABILITY_STORED"}
    receipts: list[dict[str, Any]] = grpcurl(bus, f"{BUS}/Publish", body).json()["receipts"]
    return receipts


def _create(grpcurl: Grpcurl, bus: str, name: str, channel: str, **words: Any) -> dict[str, Any]:
    body = {"name": name, "pattern": channel, **words}
    made: dict[str, Any] = grpcurl(bus, f"{BUS}/CreateDurableSubscription", body).json()
    return made


def _get(grpcurl: Grpcurl, bus: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = grpcurl(bus, f"{BUS}/GetDurableSubscription", {"name": name}).json()["subscription"]
    return found


def test_it_is_made_by_hand_and_says_how_it_delivers(grpcurl: Grpcurl, bus: str, name: str, channel: str) -> None:
    """Durations read as seconds; what was not said is the default."""
    made = _create(grpcurl, bus, name, channel, settings={"ack_wait": "60s", "backoff": {"initial": "0.5s"}})
    assert made["created"] is True
    settings = made["subscription"]["settings"]
    assert (settings["ack_wait"], settings["max_deliveries"]) == ("60s", 5)
    assert settings["backoff"] == {"initial": "0.500s", "multiplier": 2, "maximum": "60s"}
    listed = grpcurl(bus, f"{BUS}/ListDurableSubscriptions", {"page_size": 1000}).json()["subscriptions"]
    assert name in {each["name"] for each in listed}


def test_a_stored_message_is_taken_and_acked_by_hand(
    grpcurl: Grpcurl, stream: StartStream, bus: str, name: str, channel: str
) -> None:
    """The receipt says stored; a stream that has half-closed hands out, and the unary Settle acks."""
    _create(grpcurl, bus, name, channel)
    (receipt,) = _store(grpcurl, bus, channel, '{"file": "größer.py"}')
    assert receipt["durability"] == "DURABILITY_STORED"
    taken = stream(bus, f"{BUS}/Subscribe", {"start": {"pattern": channel, "durable": name}})
    assert taken.next()["started"]["ack_wait"] == "30s"
    deliveries = taken.next()["deliveries"]
    assert (deliveries["first_sequence"], deliveries["attempt"]) == (receipt["sequence"], 1)
    assert deliveries["messages"][0]["json"] == '{"file": "größer.py"}'
    ack = {"durable": name, "ack": {"sequences": [receipt["sequence"]], "attempt": 1}}
    assert grpcurl(bus, f"{BUS}/Settle", ack).json() == {}
    has = _get(grpcurl, bus, name)
    assert has["acked"] == "1"
    assert "leased" not in has


def test_two_frames_in_one_call_take_one_message_after_the_other(
    grpcurl: Grpcurl, stream: StartStream, bus: str, name: str, channel: str
) -> None:
    """`start` with credit for one, and `credit` for one more: two come, the third waits for others."""
    _create(grpcurl, bus, name, channel)
    _store(grpcurl, bus, channel, "1", "2", "3")
    start = {"start": {"pattern": channel, "durable": name, "credit": 1}}
    taken = stream(bus, f"{BUS}/Subscribe", [start, {"credit": {"messages": 1}}])
    assert "started" in taken.next()
    came: list[str] = []
    while len(came) < 2:
        came += [each["json"] for each in taken.next()["deliveries"]["messages"]]
    assert came == ["1", "2"]
    has = _get(grpcurl, bus, name)
    assert (has["leased"], has["waiting"]) == ("2", "1")


def test_a_nak_hands_it_out_again(grpcurl: Grpcurl, stream: StartStream, bus: str, name: str, channel: str) -> None:
    """With the attempt's number; who still holds the first attempt is refused, with the reason in plain text."""
    _create(grpcurl, bus, name, channel)
    (receipt,) = _store(grpcurl, bus, channel, "{}")
    taken = stream(bus, f"{BUS}/Subscribe", {"start": {"pattern": channel, "durable": name}})
    taken.next()
    assert taken.next()["deliveries"]["attempt"] == 1
    nak = {"sequences": [receipt["sequence"]], "attempt": 1, "delay": "0s", "error": "disk full"}
    grpcurl(bus, f"{BUS}/Settle", {"durable": name, "nak": nak}).json()
    assert taken.next()["deliveries"]["attempt"] == 2
    late = {"durable": name, "ack": {"sequences": [receipt["sequence"]], "attempt": 1}}
    error = grpcurl(bus, f"{BUS}/Settle", late).error()
    assert (error["code"], error["reason"]) == (9, "STALE_ACK")
    assert error["metadata"]["durable"] == name
    assert error["metadata"]["sequence"] == receipt["sequence"]
    assert (error["metadata"]["attempt"], error["metadata"]["current_attempt"]) == ("1", "2")
    assert error["metadata"]["why"] == "handed on"


@pytest.mark.parametrize("verb", ["ack", "nak", "terminate", "extend", "release"])
def test_what_was_never_handed_out_cannot_be_settled(
    grpcurl: Grpcurl, bus: str, name: str, channel: str, verb: str
) -> None:
    """Refused by name, and nothing changed."""
    _create(grpcurl, bus, name, channel)
    (receipt,) = _store(grpcurl, bus, channel, "{}")
    error = grpcurl(bus, f"{BUS}/Settle", {"durable": name, verb: {"sequences": [receipt["sequence"]]}}).error()
    assert (error["code"], error["reason"]) == (9, "STALE_ACK")
    assert error["metadata"]["why"] == "never handed out"
    assert _get(grpcurl, bus, name)["waiting"] == "1"


def test_a_name_in_use_is_refused_with_both_patterns(grpcurl: Grpcurl, bus: str, name: str, channel: str) -> None:
    """On the unary call and on the stream; with other settings it names the figure."""
    _create(grpcurl, bus, name, channel)
    other = f"{channel}:other"
    for method, body in (
        ("CreateDurableSubscription", {"name": name, "pattern": other}),
        ("Subscribe", {"start": {"pattern": other, "durable": name}}),
    ):
        error = grpcurl(bus, f"{BUS}/{method}", body).error()
        assert (error["code"], error["reason"]) == (6, "SUBSCRIPTION_EXISTS")
        assert (error["metadata"]["pattern"], error["metadata"]["existing_pattern"]) == (other, channel)
    longer = {"name": name, "pattern": channel, "settings": {"ack_wait": "90s"}}
    error = grpcurl(bus, f"{BUS}/CreateDurableSubscription", longer).error()
    assert error["reason"] == "SUBSCRIPTION_EXISTS"
    assert error["metadata"]["field"].endswith("ack_wait")
    assert (error["metadata"]["value"], error["metadata"]["existing_value"]) == ("90", "30")


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ({"settings": {"ack_wait": "0.01s"}}, "settings.ack_wait"),
        ({"settings": {"ack_wait": "86401s"}}, "settings.ack_wait"),
        ({"settings": {"max_deliveries": 0}}, "settings.max_deliveries"),
        ({"settings": {"max_deliveries": 1001}}, "settings.max_deliveries"),
        ({"settings": {"backoff": {"initial": "-1s"}}}, "settings.backoff.initial"),
        ({"settings": {"backoff": {"multiplier": 0.5}}}, "settings.backoff.multiplier"),
        ({"settings": {"backoff": {"initial": "9s", "maximum": "1s"}}}, "settings.backoff.maximum"),
        ({"position": {"sequence": 0}}, "position.sequence"),
        ({"position": {"sequence": 999999999999}}, "position.sequence"),
        ({"position": {"all": False}}, "position.all"),
    ],
)
def test_a_figure_out_of_bounds_is_named(
    grpcurl: Grpcurl, bus_address: str, name: str, channel: str, words: dict[str, Any], field: str
) -> None:
    """The field and what it was, never silently rounded."""
    error = grpcurl(
        bus_address, f"{BUS}/CreateDurableSubscription", {"name": name, "pattern": channel, **words}
    ).error()
    assert (error["code"], error["reason"]) == (3, "INVALID_MESSAGE")
    assert error["metadata"]["field"] == field
    assert field in error["message"]


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("GetDurableSubscription", {}),
        ("DeleteDurableSubscription", {}),
        ("SeekDurableSubscription", {"position": {"all": True}}),
    ],
)
def test_what_is_not_there_is_said_by_name(grpcurl: Grpcurl, bus: str, name: str, method: str, body: Any) -> None:
    """NOT_FOUND, with the name that was asked for."""
    error = grpcurl(bus, f"{BUS}/{method}", {"name": name, **body}).error()
    assert (error["code"], error["reason"]) == (5, "SUBSCRIPTION_NOT_FOUND")
    assert error["metadata"] == {"durable": name}


def test_seek_and_delete_by_hand(grpcurl: Grpcurl, bus: str, name: str, channel: str) -> None:
    """Back to what the journal has, and away."""
    _create(grpcurl, bus, name, channel)
    _store(grpcurl, bus, channel, "1", "2")
    seek = {"name": name, "position": {"new": True}}
    assert "waiting" not in grpcurl(bus, f"{BUS}/SeekDurableSubscription", seek).json()["subscription"]
    unset = grpcurl(bus, f"{BUS}/SeekDurableSubscription", {"name": name}).error()
    assert (unset["reason"], unset["metadata"]["field"]) == ("INVALID_MESSAGE", "position")
    assert grpcurl(bus, f"{BUS}/DeleteDurableSubscription", {"name": name}).json() == {}
    assert grpcurl(bus, f"{BUS}/GetDurableSubscription", {"name": name}).error()["reason"] == "SUBSCRIPTION_NOT_FOUND"


def test_it_is_changed_and_paused_by_hand(
    grpcurl: Grpcurl, stream: StartStream, bus: str, name: str, channel: str
) -> None:
    """Field by field; who is connected reads what is so now; what waits is listed and cancelled."""
    _create(grpcurl, bus, name, channel)
    changed = grpcurl(bus, f"{BUS}/UpdateDurableSubscription", {"name": name, "settings": {"max_leased": 7}}).json()
    assert changed["subscription"]["settings"]["max_leased"] == 7
    taken = stream(bus, f"{BUS}/Subscribe", {"start": {"pattern": channel, "durable": name}})
    assert "paused" not in taken.next()["started"]
    assert grpcurl(bus, f"{BUS}/PauseDurableSubscription", {"name": name}).json()["subscription"]["paused"] is True
    assert taken.next()["changed"] == {"paused": True, "ack_wait": "30s"}
    receipts = _store(grpcurl, bus, channel, "1", "2")
    waiting = grpcurl(bus, f"{BUS}/ListWaitingMessages", {"durable": name, "filter": {"channel": channel}}).json()
    assert [each["message"]["json"] for each in waiting["messages"]] == ["1", "2"]
    which = {"durable": name, "filter": {"sequences": [receipts[0]["sequence"]]}}
    assert grpcurl(bus, f"{BUS}/CancelWaitingMessages", which).json() == {"cancelled": "1"}
    grpcurl(bus, f"{BUS}/ResumeDurableSubscription", {"name": name}).json()
    assert taken.next()["changed"] == {"paused": False, "ack_wait": "30s"}
    assert taken.next()["deliveries"]["messages"][0]["json"] == "2"
    error = grpcurl(bus, f"{BUS}/CancelWaitingMessages", {"durable": name}).error()
    assert (error["reason"], error["metadata"]["field"]) == ("INVALID_MESSAGE", "filter")
