"""AgentMessage: the envelope that agents send each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from time import time_ns
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import Field, JsonValue, PrivateAttr, ValidationError
from pydantic_core import PydanticCustomError

from trunkline.errors import InvalidMessageError
from trunkline.ids import new_id
from trunkline.models.enums import MessageType, Priority
from trunkline.models.fields import Id, JsonObject, Time, now
from trunkline.models.json import JSON_TYPE, decode_json, encode_json, is_json_type, json_fault
from trunkline.models.lazy import ABSENT, SOURCE, LazyModel, known_fields, set_known

BINARY_TYPE: Final = "application/octet-stream"
"""What `data` is where no content type is given."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NO_PAYLOAD: Final = b"{}"
_UNSET: Final = object()
_NAME_TYPES: Final = frozenset({MessageType, str})
MESSAGE_TYPES: Final[Mapping[str, MessageType]] = {each.value: each for each in MessageType}
"""The well-known ones, by their names."""
_NAMES: Final[Mapping[type, str]] = {
    dict: "a JSON object that was sent as bytes",
    list: "a JSON array, not a JSON object",
    str: "a JSON string, not a JSON object",
    int: "a JSON number, not a JSON object",
    float: "a JSON number, not a JSON object",
    bool: "a JSON boolean, not a JSON object",
    type(None): "null, not a JSON object",
}
_SHOWN: Final = 40
"""Characters of a payload that an error shows."""


class AgentMessage(LazyModel):
    """One message.

    It carries either `payload`, a JSON object, or `data`: anything else, as bytes. Agents of other languages may send
    such; then `payload` raises InvalidMessageError, `json()` reads what is JSON, and a dump has no `payload`. Assigning
    one takes the place of the other. `metadata` that came as no JSON object raises the same error, and is in no dump.

    Args:
        message_type: what it is for; a `MessageType`, or any other name as text.
        sender_id: who sent it.
        recipient_id: whom it is meant for. None: everybody.
        payload: a JSON object.
        correlation_id: ties a reply to its request. None: none.
        priority: the higher goes first of what waits for one subscriber. Default medium.
        timestamp: timezone-aware, kept in UTC. Default: now.
        ttl_seconds: seconds after `timestamp` from which it must not be delivered, at least 1. None: never expires.
        metadata: a JSON object, for tracing and the like.
        message_id: default a new UUID.
        data: a payload that is no JSON object, as bytes. None: the payload is `payload`.
        content_type: media type of `data`, such as `application/json` for a JSON array. Default
            application/octet-stream.

    Raises:
        pydantic.ValidationError: a field that cannot be taken (naive time, a payload that is no JSON object, both
            `payload` and `data`); names it.
    """

    message_id: Id = Field(default_factory=new_id)
    message_type: Annotated[MessageType | str, Field(union_mode="left_to_right")]
    sender_id: str
    recipient_id: Id | None = None
    payload: JsonObject = Field(default_factory=dict)
    correlation_id: Id | None = None
    priority: Priority = Priority.MEDIUM
    timestamp: Time = Field(default_factory=now)
    ttl_seconds: int | None = Field(default=None, ge=1, le=2**31 - 1)
    metadata: JsonObject = Field(default_factory=dict)
    data: bytes | None = None
    content_type: str | None = None

    _channel: str = PrivateAttr(default="")
    _sequence: int = PrivateAttr(default=0)
    _ordering_key: str | None = PrivateAttr(default=None)

    if not TYPE_CHECKING:  # for type checkers, pydantic's own signature stands

        def __init__(
            self,
            /,
            *,
            message_type=_UNSET,
            sender_id=_UNSET,
            payload=_UNSET,
            recipient_id=None,
            correlation_id=None,
            priority=Priority.MEDIUM,
            data=None,
            content_type=None,
            **rest,
        ):
            # A program that sends many messages makes them of values that are plainly right: of the very types that
            # validation would give back. Such a message is filled in a third of the time, and its payload is written
            # once, here; anything else, right or wrong, is validated. The tests hold the two ways to the same result.
            content, readers = None, MADE_READERS
            if data is not None:
                if type(data) is bytes and payload is _UNSET and _is_binary(content_type):
                    content, readers = data, MADE_BINARY_READERS
            elif content_type is None:
                content = _NO_PAYLOAD if payload is _UNSET else _json_of(payload)
            if (
                content is not None
                and not rest
                and type(self) is AgentMessage
                and type(message_type) in _NAME_TYPES
                and type(sender_id) is str
                and type(priority) is Priority
                and (recipient_id is None or (type(recipient_id) is str and recipient_id))
                and (correlation_id is None or (type(correlation_id) is str and correlation_id))
            ):
                name, time = MESSAGE_TYPES.get(message_type, message_type), time_ns()
                made = (
                    *(readers, new_id(), name, sender_id, recipient_id),
                    *(content, correlation_id, priority, time, content_type),
                )
                set_known(self, {SOURCE: made})
                return
            if data is not None:
                rest["data"] = data
            if content_type is not None:
                rest["content_type"] = content_type
            if message_type is not _UNSET:
                rest["message_type"] = message_type
            if sender_id is not _UNSET:
                rest["sender_id"] = sender_id
            if payload is not _UNSET:
                rest["payload"] = payload
            super().__init__(recipient_id=recipient_id, correlation_id=correlation_id, priority=priority, **rest)
            if self.data is not None:
                if self.payload:
                    raise _both(self.data)
                del self.__dict__["payload"]

        # A message with `data` has no value of `payload`; so a message with one pays nothing for this.
        def __getattr__(self, name):
            if name == "payload" and "data" in self.__dict__:
                raise self._no_object()
            if name == "metadata" and "data" in self.__dict__:
                raise self._no_metadata()
            return super().__getattr__(name)

        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if name in {"payload", "data"}:
                self._replaced_by(name)

    @property
    def channel(self) -> str:
        """The channel on which it was received, which may be one of many that a pattern matches; empty if it was made
        here. No field: it takes no part in equality and dumps."""
        channel: str = self._private("_channel", "")
        return channel

    @property
    def sequence(self) -> int:
        """Its place in the order of what the bus took, from 1; 0 if it was made here. No field, as `channel`."""
        sequence: int = self._private("_sequence", 0)
        return sequence

    @property
    def ordering_key(self) -> str | None:
        """The ordering key that it was stored with; None: it has none, or was made here. No field, as `channel`."""
        key: str | None = self._private("_ordering_key", None)
        return key

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # mutable

    def json(self) -> JsonValue:  # type: ignore[override]  # pydantic's, deprecated there, returns text
        """Returns the payload as the JSON value that was sent: also an array, text, a number, a boolean or null.

        Raises:
            InvalidMessageError: `data` is not JSON by its content type, or is broken. Details: field, value (its
                beginning), message_id, channel, content_type; of what is broken position, from 0, where it is known.
        """
        data = self.data
        if data is None:
            return self.payload
        kind = self.content_type or BINARY_TYPE
        if not is_json_type(kind):
            size = f"{len(data):,} byte{'' if len(data) == 1 else 's'}"
            raise self._refusal(f"is {size} of {kind}, not JSON: read `data`")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise self._refusal(f"cannot be read as JSON ({kind}): {error}", error.start) from error
        try:
            value: JsonValue = decode_json(text)
        except (ValueError, RecursionError) as error:
            wrong, position = json_fault(text, error)
            raise self._refusal(f"cannot be read as JSON ({kind}): {wrong}", position) from error
        return value

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Returns a copy; of `payload` and `data`, the updated one takes the other's place."""
        copied = super().model_copy(update=update, deep=deep)
        for name in {"payload", "data"}.intersection(update or ()):
            copied._replaced_by(name)
        return copied

    def _replaced_by(self, name: str) -> None:
        """Lets what was just set, `payload` or `data`, be the only one."""
        values = self.__dict__
        if name == "payload":
            values["data"] = values["content_type"] = None
        elif values["data"] is None:
            values.setdefault("payload", {})
        else:
            values.pop("payload", None)

    def _no_object(self) -> InvalidMessageError:
        """Returns the error of who reads `payload` where there is none."""
        if self.data is None:
            return self._refusal("was left out")
        try:
            value = self.json()
        except InvalidMessageError as error:
            return error
        what = _NAMES[type(value)]
        return self._refusal(f"is {what} ({self.content_type}): read `json()` or `data`")

    def _no_metadata(self) -> InvalidMessageError:
        """Returns the error of who reads `metadata` that is no JSON object."""
        place = f" on {self.channel!r}" if self.channel else ""
        return InvalidMessageError(
            f"the metadata of message {self.message_id!r}{place} is no JSON object, or was left out",
            details={"field": "metadata", "message_id": self.message_id, "channel": self.channel},
        )

    def _refusal(self, wrong: str, position: int | None = None) -> InvalidMessageError:
        place = f" on {self.channel!r}" if self.channel else ""
        data = self.data or b""
        shown = data[:_SHOWN].decode(errors="backslashreplace") + ("…" if len(data) > _SHOWN else "")
        details: dict[str, Any] = {
            "field": "payload",
            "value": shown,
            "message_id": self.message_id,
            "channel": self.channel,
            "content_type": self.content_type,
        }
        if position is not None:
            details["position"] = position
        return InvalidMessageError(f"the payload of message {self.message_id!r}{place} {wrong}", details=details)

    def is_expired(self, at: datetime | None = None) -> bool:
        """Whether its age is over its TTL; False without one. `at` defaults to now."""
        if self.ttl_seconds is None:
            return False
        return ((at or now()) - self.timestamp).total_seconds() > self.ttl_seconds

    def create_response(
        self, sender_id: str, message_type: MessageType | str, payload: dict[str, Any] | None = None
    ) -> AgentMessage:
        """The reply to this message: to its sender, with its priority, tied to it by its correlation id (or, where it
        has none, its message id). TTL and metadata are not taken over."""
        return AgentMessage(
            message_type=message_type,
            sender_id=sender_id,
            recipient_id=self.sender_id or None,
            payload={} if payload is None else payload,
            correlation_id=self.correlation_id or self.message_id,
            priority=self.priority,
        )


def _both(data: bytes) -> ValidationError:
    wrong = PydanticCustomError("payload_and_data", "a message carries either payload or data, not both")
    return ValidationError.from_exception_data("AgentMessage", [{"type": wrong, "loc": ("data",), "input": data}])


MESSAGE_FIELDS: Final = set(AgentMessage.model_fields)
"""The names of all fields; shared by the messages that are filled without validation."""


def _json_of(payload: object) -> bytes | None:
    """Returns a payload as JSON; None where only validation can say what is wrong with it."""
    if type(payload) is not dict:
        return None
    try:
        return encode_json(payload)
    except (ValueError, TypeError, RecursionError):
        return None


def _is_binary(content_type: object) -> bool:
    """Returns whether `data` of this content type is sent as it is."""
    return content_type is None or (type(content_type) is str and content_type != JSON_TYPE)


MADE_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "message_id": itemgetter(1),
    "message_type": itemgetter(2),
    "sender_id": itemgetter(3),
    "recipient_id": itemgetter(4),
    "payload": lambda made: decode_json(made[5]),
    "correlation_id": itemgetter(6),
    "priority": itemgetter(7),
    "timestamp": lambda made: _EPOCH + timedelta(microseconds=made[8] // 1_000),
    "ttl_seconds": lambda _: None,
    "metadata": lambda _: {},
    "data": lambda _: None,
    "content_type": lambda _: None,
    SOURCE: lambda _: None,
}
"""How the fields of a message made here are read: its payload is kept as JSON, its time as nanoseconds since 1970."""
MADE_BINARY_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **MADE_READERS,
    "payload": lambda _: ABSENT,
    "data": itemgetter(5),
    "content_type": itemgetter(9),
}
"""The same of a message with `data`."""


def as_made(message: AgentMessage) -> tuple[Any, ...] | None:
    """Returns what a message made here keeps (see `MADE_READERS`) while that is all of it: it has no TTL and no
    metadata, and nothing of it can have been changed. Else None."""
    known = known_fields(message)
    made: tuple[Any, ...] | None = known.get(SOURCE)
    if made is None or "payload" in known or "metadata" in known:
        return None
    readers = made[0]
    return made if readers is MADE_READERS or readers is MADE_BINARY_READERS else None
