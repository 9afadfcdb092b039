"""The two dialects on the wire: each is understood, and answered as it was spoken."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import MessageTooLargeError
from trunkline.message_channel import ServiceMessage
from trunkline.message_channel.unix_socket.dialects import SEED, Dialect, LineError, decode, encode, is_whole

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SEED_LINE = (
    b'{"sender":"cli","type":"COMMAND","payload":"{\\"command\\": \\"ps\\", \\"args\\": []}",'
    b'"timestamp":"2025-07-27T10:00:00.123456"}'
)
ANSWER = ServiceMessage("orchestrator", "STATUS", '{"status": "success"}', datetime(2025, 7, 27, tzinfo=UTC))


def test_understands_the_seeds_line() -> None:
    """The line that BEHAVIOUR.md shows, field by field."""
    spoken = decode(SEED_LINE)
    assert spoken.message == ServiceMessage(
        "cli", "COMMAND", '{"command": "ps", "args": []}', datetime(2025, 7, 27, 10, 0, 0, 123456)
    )
    assert spoken.dialect == SEED
    assert spoken.target is None


def test_answers_the_seed_in_its_dialect() -> None:
    """One line, sender orchestrator, type STATUS, payload a JSON string."""
    answer = encode(ANSWER, decode(SEED_LINE).dialect)
    assert answer.endswith(b"\n")
    assert json.loads(answer) == {
        "sender": "orchestrator",
        "type": "STATUS",
        "payload": '{"status": "success"}',
        "timestamp": "2025-07-27T00:00:00+00:00",
    }


def test_answers_the_later_dialect_in_its_own() -> None:
    """`event_name` for `type`, an object for the payload string, `request_id` and `protocol_version` given back."""
    spoken = decode(
        b'{"sender":"cli","event_name":"COMMAND","payload":{"command": "ps",  "args":[]},"request_id":"r-1",'
        b'"protocol_version":"1.0","timestamp":"2025-10-05T12:34:56.789"}'
    )
    assert spoken.message.type == "COMMAND"
    assert spoken.message.payload == '{"command": "ps",  "args":[]}'
    answer = json.loads(encode(ANSWER, spoken.dialect))
    assert answer["event_name"] == "STATUS"
    assert "type" not in answer
    assert answer["payload"] == {"status": "success"}
    assert answer["request_id"] == "r-1"
    assert answer["protocol_version"] == "1.0"


def test_gives_a_request_id_back_where_it_was_put() -> None:
    """Some later clients put it into the payload; the answer has it there, with the version that it expects."""
    spoken = decode(b'{"sender":"cli","event_name":"COMMAND","payload":{"command":"ps","request_id":7}}')
    answer = json.loads(encode(ANSWER, spoken.dialect))
    assert answer["payload"] == {"status": "success", "request_id": 7, "protocol_version": "1.0"}
    assert "request_id" not in answer


def test_text_becomes_an_object_where_only_objects_are_spoken() -> None:
    """A payload that is no JSON object is wrapped, not lost."""
    answer = json.loads(encode(ServiceMessage("a", "STATUS", "agent_started"), Dialect(True, True)))
    assert answer["payload"] == {"message": "agent_started"}


@given(TEXT, TEXT, st.sampled_from(["COMMAND", "STATUS"]), st.datetimes(timezones=st.sampled_from([None, UTC])))
def test_every_message_survives_the_wire(sender: str, payload: str, type: str, when: datetime) -> None:
    """Payloads are exact, and one message is one line."""
    message = ServiceMessage(sender, type, payload, when)  # type: ignore[arg-type]
    line = encode(message)
    assert line.count(b"\n") == 1
    assert decode(line).message == message


@given(st.binary(max_size=200))
def test_any_bytes_are_understood_or_refused(line: bytes) -> None:
    """Nothing but LineError comes of bad input."""
    with suppress(LineError):
        assert decode(line).message.type in ("COMMAND", "STATUS")
    assert is_whole(line) in (True, False)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (b'{"sender":"\xff"}', "not UTF-8"),
        (b"hello", "not JSON"),
        (b"{", "not JSON"),
        (b"[1]", "no object"),
        (b"12", "no object"),
        (b"[" * 100_000, "the line is"),
        (b'{"sender":"a","type":"COMMAND","payload":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "line|payload"),
        (b'{"type":"COMMAND","payload":""}', "sender is missing"),
        (b'{"sender":"a","payload":""}', "type is missing"),
        (b'{"sender":"a","event_name":"NO","payload":""}', "COMMAND or STATUS"),
        (b'{"sender":"a","type":"COMMAND"}', "payload is missing"),
        (b'{"sender":"a","type":"COMMAND","payload":[1]}', "payload must be text or an object"),
        (b'{"sender":1,"type":"COMMAND","payload":""}', "sender must be text"),
        (b'{"sender":"a","type":"COMMAND","payload":"","timestamp":"soon"}', "ISO 8601"),
        (b'{"sender":"a","type":"COMMAND","payload":"\\ud800"}', "not JSON"),
        (b'{"sender":"a","type":"COMMAND","payload":"","request_id":1e999}', "1e999"),
        (b'{"sender":"a","type":"COMMAND","payload":"","target":5}', "target must be text"),
    ],
)
def test_says_what_is_wrong_with_a_line(line: bytes, wrong: str) -> None:
    """Each malformed line is refused, naming the field."""
    with pytest.raises(LineError, match=wrong):
        decode(line)


def test_a_refusal_knows_the_dialect_as_far_as_it_goes() -> None:
    """A later client's bad line is answered as a later client wants it."""
    with pytest.raises(LineError) as refused:
        decode(b'{"event_name":"COMMAND","payload":{},"request_id":"r-2"}')
    assert refused.value.dialect == Dialect(True, True, request_id="r-2")


def test_a_beginning_of_an_object_is_never_a_whole_one() -> None:
    """So a client that sends no newline is understood as soon as it paused, and never too early."""
    whole = b'{"sender":"a}","type":"STATUS","payload":{"x":{}}}'
    assert is_whole(whole)
    assert not any(is_whole(whole[:end]) for end in range(len(whole)))


def test_an_answer_over_the_limit_is_refused() -> None:
    """With both sizes."""
    with pytest.raises(MessageTooLargeError) as refused:
        encode(ServiceMessage("a", "STATUS", "x" * 100), limit=100)
    assert refused.value.details["limit"] == 100
