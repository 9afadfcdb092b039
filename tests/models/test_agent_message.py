"""AgentMessage: the row of the expected behaviour, and what is refused when a message is made."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from trunkline import AgentMessage, InvalidMessageError, MessageType, Priority


def made(**fields: Any) -> AgentMessage:
    return AgentMessage(**{"message_type": MessageType.CONTROL, "sender_id": "s"} | fields)


def test_the_defaults() -> None:
    """message_id (uuid), recipient_id None, payload {}, correlation_id None, MEDIUM, now, no ttl, metadata {}."""
    before = datetime.now(UTC)
    message = made()
    assert UUID(message.message_id).version == 4
    assert str(UUID(message.message_id)) == message.message_id
    assert before <= message.timestamp <= datetime.now(UTC)
    assert message.timestamp.tzinfo is UTC
    assert (message.recipient_id, message.correlation_id, message.ttl_seconds) == (None, None, None)
    assert message.payload == message.metadata == {}
    assert message.payload is not made().payload
    assert message.priority is Priority.MEDIUM


def test_ids_are_new_each_time() -> None:
    """ids default to a new UUID string."""
    assert len({made().message_id for _ in range(5_000)}) == 5_000


@pytest.mark.parametrize("missing", ["message_type", "sender_id"])
def test_what_is_required(missing: str) -> None:
    """message_type and sender_id are required."""
    fields = {"message_type": "control", "sender_id": "s"}
    del fields[missing]
    with pytest.raises(ValidationError, match=missing):
        AgentMessage(**fields)


def test_unknown_fields_are_ignored() -> None:
    """Unknown fields are ignored."""
    message = made(nonsense=1)
    assert not hasattr(message, "nonsense")
    assert "nonsense" not in message.model_dump()


def test_a_naive_timestamp_is_refused_when_the_message_is_made() -> None:
    """A naive timestamp with a ttl raised TypeError in publish: it is refused when the message is made, and named."""
    with pytest.raises(ValidationError, match="timestamp"):
        made(timestamp=datetime(2026, 1, 1), ttl_seconds=5)
    message = made(ttl_seconds=5)
    with pytest.raises(ValidationError, match="timestamp"):
        message.timestamp = datetime(2026, 1, 1)


def test_times_of_other_zones_are_kept_in_utc() -> None:
    """Times are timezone-aware UTC, whatever zone they were given in."""
    given = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    message = made(timestamp=given)
    assert message.timestamp == given
    assert message.timestamp.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "payload",
    [{"a": object()}, {"a": (1, 2)}, {"a": b"x"}, {"a": {1: 2}}, {1: 2}, {"a": float("nan")}, {"a": {1}}, [1], "text"],
    ids=["object", "tuple", "bytes", "deep key", "key", "nan", "set", "list", "text"],
)
def test_a_payload_that_is_no_json_is_refused_when_the_message_is_made(payload: Any) -> None:
    """A payload that is no JSON failed late: it is refused when the message is made, with a clear error."""
    with pytest.raises(ValidationError, match="payload"):
        made(payload=payload)
    with pytest.raises(ValidationError, match="metadata"):
        made(metadata=payload)


def test_a_payload_nested_without_end_is_refused() -> None:
    """Nesting that nobody can write or read is refused, not met by a crash."""
    deep: dict[str, Any] = {}
    cursor = deep
    for _ in range(5_000):
        cursor["a"] = {}
        cursor = cursor["a"]
    with pytest.raises(ValidationError):
        made(payload=deep)
    loop: dict[str, Any] = {}
    loop["self"] = loop
    with pytest.raises(ValidationError):
        made(payload=loop)


def test_a_payload_is_copied() -> None:
    """Changing the object that it was made of changes no message."""
    payload: dict[str, Any] = {"a": {"b": [1]}}
    message = made(payload=payload)
    payload["a"]["b"].append(2)
    payload["c"] = 3
    assert message.payload == {"a": {"b": [1]}}


@pytest.mark.parametrize("ttl", [0, -1, 2**31, 1.5, "soon"])
def test_a_ttl_is_at_least_1(ttl: Any) -> None:
    """ttl_seconds: int ≥ 1 or None."""
    with pytest.raises(ValidationError, match="ttl_seconds"):
        made(ttl_seconds=ttl)


def test_is_expired() -> None:
    """is_expired(): False without ttl, else age > ttl."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    assert not made(timestamp=datetime(1, 1, 1, tzinfo=UTC)).is_expired()
    message = made(timestamp=start, ttl_seconds=10)
    assert message.is_expired()
    assert not message.is_expired(start + timedelta(seconds=10))
    assert message.is_expired(start + timedelta(seconds=10, microseconds=1))
    assert not made(timestamp=datetime.now(UTC) + timedelta(days=1), ttl_seconds=1).is_expired()


def test_create_response() -> None:
    """New id and time, recipient = the request's sender, correlation = the request's or else its id; priority only."""
    request = made(
        priority=Priority.CRITICAL, ttl_seconds=9, metadata={"a": 1}, timestamp=datetime(2026, 1, 1, tzinfo=UTC)
    )
    response = request.create_response("r", MessageType.TASK_RESULT, {"done": True})
    assert response.message_id != request.message_id
    assert response.timestamp > request.timestamp
    assert (response.sender_id, response.recipient_id) == ("r", "s")
    assert response.message_type is MessageType.TASK_RESULT
    assert response.payload == {"done": True}
    assert response.correlation_id == request.message_id
    assert response.priority is Priority.CRITICAL
    assert response.ttl_seconds is None
    assert response.metadata == {}
    preset = made(correlation_id="c").create_response("r", "own_type")
    assert (preset.correlation_id, preset.payload, preset.message_type) == ("c", {}, "own_type")


def test_the_enums_are_strings_and_any_type_is_taken() -> None:
    """Enums are strings, the value is the name in lower case; other languages' types pass as text."""
    assert made(message_type="task_result").message_type is MessageType.TASK_RESULT
    assert made(message_type="of_its_own").message_type == "of_its_own"
    assert made(priority="high").priority is Priority.HIGH
    with pytest.raises(ValidationError, match="priority"):
        made(priority="urgent")


def test_messages_are_values() -> None:
    """Equal field by field; pickled, copied and dumped as JSON they come back equal."""
    message = made(payload={"a": [1, {"b": None}]}, ttl_seconds=3)
    for twin in (
        pickle.loads(pickle.dumps(message)),
        copy.deepcopy(message),
        AgentMessage.model_validate_json(message.model_dump_json()),
    ):
        assert twin == message
        assert twin is not message
    assert message != made(payload={"a": [1, {"b": None}]}, ttl_seconds=3)


def test_a_message_carries_payload_or_data() -> None:
    """Both are refused, and it is named; an empty payload beside data, as older dumps have it, is none."""
    for make in (made, lambda **fields: AgentMessage.model_validate({"message_type": "x", "sender_id": "s"} | fields)):
        with pytest.raises(ValidationError, match=r"data\n.*either payload or data, not both"):
            make(payload={"a": 1}, data=b"x")
        message = make(payload={}, data=b"")
        with pytest.raises(InvalidMessageError, match="is 0 bytes of application/octet-stream, not JSON"):
            _ = message.payload


def test_the_one_that_is_set_takes_the_place_of_the_other() -> None:
    """By assignment and in a copy; where an assignment is refused, nothing changes."""
    message = made(payload={"a": 1})
    message.data = b"[1]"
    message.content_type = "application/json"
    assert message.json() == [1]
    with pytest.raises(InvalidMessageError, match="is a JSON array"):
        _ = message.payload
    with pytest.raises(ValidationError, match="payload"):
        message.payload = {"a": object()}  # type: ignore[dict-item]
    assert message.json() == [1]
    copied = message.model_copy(update={"payload": {"b": 2}})
    assert (copied.payload, copied.json(), copied.data, copied.content_type) == ({"b": 2}, {"b": 2}, None, None)
    assert message.model_copy(update={"sender_id": "t"}).json() == [1]
    with pytest.raises(InvalidMessageError, match="is 1 byte of application/octet-stream, not JSON"):
        copied.model_copy(update={"data": b"x"}).json()
    message.payload = {"c": 3}
    dump = message.model_dump()
    assert (dump["payload"], dump["data"], dump["content_type"]) == ({"c": 3}, None, None)
    message.data = b""
    message.data = None
    assert message.payload == {}


def test_bytes_that_are_no_text_are_not_dumped_as_json() -> None:
    """JSON cannot say them, and the dump says so; text is dumped as text."""
    with pytest.raises(ValueError, match="utf-8"):
        made(data=b"\xff", content_type="image/png").model_dump_json()
    message = made(data=b"[1]", content_type="application/json")
    assert AgentMessage.model_validate_json(message.model_dump_json()) == message


@pytest.mark.parametrize("payload", [[], [1], "", "text", 0, 7, False])
def test_a_response_takes_a_json_object_only(payload: Any) -> None:
    """An empty array is no empty object: it is refused like any other."""
    with pytest.raises(ValidationError, match="payload"):
        made().create_response("r", "x", payload)
