"""Dead letters by hand: an operator with nothing but grpcurl makes one, finds it, gives it back and removes it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.grpcurl.conftest import Grpcurl, StartStream, Stream

BUS = "trunkline.v1.BusService"


@pytest.fixture
def taker(grpcurl: Grpcurl, stream: StartStream, bus: str, name: str, channel: str) -> Stream:
    """The stream of a durable subscription that hands out each message once."""
    once = {"name": name, "pattern": channel, "settings": {"max_deliveries": 1}}
    grpcurl(bus, f"{BUS}/CreateDurableSubscription", once).json()
    taken = stream(bus, f"{BUS}/Subscribe", {"start": {"pattern": channel, "durable": name}})
    assert "started" in taken.next()
    return taken


@pytest.fixture
def dead(grpcurl: Grpcurl, taker: Stream, bus: str, name: str, channel: str) -> str:
    """The id of a dead letter, made by hand: handed out, and nakked."""
    message = {"json": '{"file": "main.py"}', "sender_id": "me", "message_type": "task_assignment"}
    body = {"channel": channel, "messages": [message], "durability": "DURABILITY_STORED"}
    grpcurl(bus, f"{BUS}/Publish", body).json()
    deliveries = taker.next()["deliveries"]
    nak = {"sequences": [deliveries["first_sequence"]], "attempt": deliveries["attempt"], "error": "disk full"}
    grpcurl(bus, f"{BUS}/Settle", {"durable": name, "nak": nak}).json()
    (letter,) = _list(grpcurl, bus, durable=name)["dead_letters"]
    return str(letter["dead_letter_id"])


def _list(grpcurl: Grpcurl, bus: str, **filters: Any) -> Any:
    return grpcurl(bus, f"{BUS}/ListDeadLetters", {"filter": filters}).json()


def test_it_is_listed_by_filter(grpcurl: Grpcurl, bus: str, dead: str, name: str, channel: str) -> None:
    """All that is said must match; how many there are is said too."""
    wanted: dict[str, Any] = {
        "durable": name,
        "channel": "test:*",
        "reason": "DEAD_LETTER_REASON_MAX_DELIVERIES",
        "message_type": "task_assignment",
        "sender_id": "me",
        "error_contains": "disk",
        "since": "2020-01-01T00:00:00Z",
    }
    found = _list(grpcurl, bus, **wanted)
    assert [each["dead_letter_id"] for each in found["dead_letters"]] == [dead]
    assert found["total"] == "1"
    assert _list(grpcurl, bus, **{**wanted, "reason": "DEAD_LETTER_REASON_EXPIRED"}) == {}
    brief = grpcurl(bus, f"{BUS}/ListDeadLetters", {"filter": {"durable": name}, "brief": True}).json()
    assert "json" not in brief["dead_letters"][0]["message"]


def test_it_is_shown_with_message_and_attempts(grpcurl: Grpcurl, bus: str, dead: str, name: str, channel: str) -> None:
    """The payload in plain text, who had it, and what was said."""
    letter = grpcurl(bus, f"{BUS}/GetDeadLetter", {"dead_letter_id": dead}).json()["dead_letter"]
    assert (letter["durable"], letter["channel"], letter["error"]) == (name, channel, "disk full")
    assert letter["reason"] == "DEAD_LETTER_REASON_MAX_DELIVERIES"
    assert letter["message"]["json"] == '{"file": "main.py"}'
    (attempt,) = letter["attempts"]
    assert (attempt["number"], attempt["error"]) == (1, "disk full")
    assert attempt["delivered_at"] <= attempt["ended_at"]
    assert attempt["peer"]


def test_a_dry_run_says_what_a_redrive_then_does(
    grpcurl: Grpcurl, taker: Stream, bus: str, dead: str, name: str
) -> None:
    """It goes back to its subscription, with the attempt's number, and is no dead letter any more."""
    said = grpcurl(bus, f"{BUS}/RedriveDeadLetters", {"filter": {"durable": name}, "dry_run": True}).json()
    assert said == {"redriven": "1", "dead_letter_ids": [dead]}
    assert _list(grpcurl, bus, durable=name)["total"] == "1"
    assert grpcurl(bus, f"{BUS}/RedriveDeadLetters", {"dead_letter_ids": [dead]}).json() == said
    assert _list(grpcurl, bus, durable=name) == {}
    deliveries = taker.next()["deliveries"]
    assert deliveries["attempt"] > 1
    assert deliveries["messages"][0]["json"] == '{"file": "main.py"}'


def test_it_is_purged(grpcurl: Grpcurl, bus: str, dead: str, name: str) -> None:
    """Said first, then done; then there is none, and that is no error."""
    assert grpcurl(bus, f"{BUS}/PurgeDeadLetters", {"dead_letter_ids": [dead], "dry_run": True}).json() == {
        "purged": "1"
    }
    assert grpcurl(bus, f"{BUS}/PurgeDeadLetters", {"filter": {"durable": name}}).json() == {"purged": "1"}
    assert grpcurl(bus, f"{BUS}/PurgeDeadLetters", {"filter": {"durable": name}}).json() == {}
    assert grpcurl(bus, f"{BUS}/RedriveDeadLetters", {"filter": {"durable": name}}).json() == {}


@pytest.mark.parametrize(
    ("method", "body", "code", "reason"),
    [
        ("GetDeadLetter", {"dead_letter_id": 999999999}, 5, "DEAD_LETTER_NOT_FOUND"),
        ("RedriveDeadLetters", {"dead_letter_ids": [999999999]}, 5, "DEAD_LETTER_NOT_FOUND"),
        ("PurgeDeadLetters", {"dead_letter_ids": [999999999]}, 5, "DEAD_LETTER_NOT_FOUND"),
        ("RedriveDeadLetters", {}, 3, "INVALID_MESSAGE"),
        ("PurgeDeadLetters", {}, 3, "INVALID_MESSAGE"),
        ("RedriveDeadLetters", {"filter": {}, "limit": 0}, 3, "INVALID_MESSAGE"),
        ("RedriveDeadLetters", {"filter": {}, "limit": -5}, 3, "INVALID_MESSAGE"),
        ("ListDeadLetters", {"filter": {"reason": 9}}, 3, "INVALID_MESSAGE"),
        ("ListDeadLetters", {"filter": {"channel": "a:>:b"}}, 3, "INVALID_CHANNEL"),
        ("ListDeadLetters", {"page_size": 0}, 3, "INVALID_MESSAGE"),
        ("ListDeadLetters", {"page_token": "never given"}, 3, "INVALID_MESSAGE"),
    ],
)
def test_an_error_is_as_the_table_says(
    grpcurl: Grpcurl, bus: str, method: str, body: dict[str, Any], code: int, reason: str
) -> None:
    """The status, and one ErrorInfo with the reason."""
    error = grpcurl(bus, f"{BUS}/{method}", body).error()
    assert (error["code"], error["reason"]) == (code, reason)
    assert error["message"]
    assert error["metadata"]


def test_a_letter_of_a_deleted_subscription_stays(grpcurl: Grpcurl, bus: str, dead: str, name: str) -> None:
    """By filter it is counted, by id it is refused with the name."""
    grpcurl(bus, f"{BUS}/DeleteDurableSubscription", {"name": name}).json()
    assert grpcurl(bus, f"{BUS}/RedriveDeadLetters", {"filter": {"durable": name}}).json() == {"orphaned": "1"}
    error = grpcurl(bus, f"{BUS}/RedriveDeadLetters", {"dead_letter_ids": [dead]}).error()
    assert (error["code"], error["reason"]) == (5, "SUBSCRIPTION_NOT_FOUND")
    assert error["metadata"]["durable"] == name
