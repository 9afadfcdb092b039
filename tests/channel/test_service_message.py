"""ServiceMessage(sender, type "COMMAND" or "STATUS", payload: str, timestamp: datetime)."""

from __future__ import annotations

import dataclasses
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.message_channel import Peer, ServiceMessage
from trunkline.message_channel.service_message import flattened, restored


def test_has_the_seeds_fields_in_their_order() -> None:
    """It is a dataclass of four fields, made by position or by name."""
    when = datetime(2025, 7, 27, 10)
    message = ServiceMessage("cli", "COMMAND", "ps", when)
    assert message == ServiceMessage(sender="cli", type="COMMAND", payload="ps", timestamp=when)
    assert dataclasses.asdict(message) == {"sender": "cli", "type": "COMMAND", "payload": "ps", "timestamp": when}


def test_is_made_now_in_utc_unless_said() -> None:
    """The timestamp's default is the time now, aware."""
    assert abs(datetime.now(UTC) - ServiceMessage("a", "STATUS", "").timestamp) < timedelta(seconds=5)


@pytest.mark.parametrize("type", ["command", "EVENT", "", None, 1])
def test_refuses_any_other_type(type: Any) -> None:
    """A type that is neither COMMAND nor STATUS is refused with both names."""
    with pytest.raises(ValueError, match="'COMMAND' or 'STATUS'"):
        ServiceMessage("a", type, "")


@pytest.mark.parametrize("fields", [{"payload": {"a": 1}}, {"payload": b"x"}, {"sender": 1}, {"timestamp": "now"}])
def test_refuses_a_field_of_another_type(fields: dict[str, Any]) -> None:
    """A wrong field is named."""
    with pytest.raises(TypeError, match=next(iter(fields))):
        ServiceMessage(**({"sender": "a", "type": "STATUS", "payload": ""} | fields))


def test_cannot_be_changed_by_reference_after_it_was_sent() -> None:
    """State and messages passed by reference were changed after save; a message is frozen, and pickles to an equal."""
    message = ServiceMessage("a", "STATUS", "x")
    with pytest.raises(dataclasses.FrozenInstanceError):
        message.payload = "y"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(message)) == message


@dataclasses.dataclass(frozen=True)
class Annotated(ServiceMessage):
    """A user's own message."""

    note: str = "kept"


@given(
    st.text(),
    st.sampled_from(["COMMAND", "STATUS"]),
    st.datetimes(timezones=st.none() | st.timezones() | st.just(UTC)),
    st.sampled_from([ServiceMessage, Annotated]),
    st.none() | st.integers(),
    st.none() | st.just(Peer(1, 2, 3)),
)
def test_goes_through_a_pipe_as_it_is(
    text: str, kind: Any, when: datetime, of: type[ServiceMessage], token: int | None, peer: Peer | None
) -> None:
    """Any text, any time in its zone, a class of one's own, who asked and who sent it."""
    message = of("a", kind, text, when)
    if token is not None:
        message.with_token(token)
    if peer is not None:
        message.with_peer(peer)
    came = restored(pickle.loads(pickle.dumps(flattened(message))))
    assert (came, type(came), came.timestamp.tzinfo) == (message, of, when.tzinfo)
    assert (came.answer_token, came.peer) == (token, peer)
