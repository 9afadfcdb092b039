"""The two dialects of a ServiceMessage on a UNIX socket, one JSON object a line.

The seed's:   {"sender": "cli", "type": "COMMAND", "payload": "text", "timestamp": "2025-07-27T10:00:00.123456"}
The later:    {"sender": "cli", "event_name": "COMMAND", "payload": {…}, "timestamp": "…", "request_id": "…",
               "protocol_version": "1.0"}; some put the request_id into the payload.

They are distinguished field by field, and a reply mirrors each: the kind under the same name, the payload as text or as
object, `request_id` and `protocol_version` where the client had put them. Both may name a `target`; the timestamp may
be left out and means now. Fields that are not known are ignored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import msgspec

from trunkline.errors import MessageTooLargeError
from trunkline.message_channel.limits import MAX_LINE_BYTES
from trunkline.message_channel.service_message import KINDS, MessageKind, ServiceMessage
from trunkline.text import safe_text

PROTOCOL_VERSION: Final = "1.0"

_quoted: Final = json.encoder.encode_basestring_ascii


@dataclass(frozen=True, slots=True)
class Dialect:
    """The form of a client's lines; the default is the seed's dialect.

    Args:
        event_name: the kind stands under `event_name`, not `type`.
        object_payload: the payload is an object, not text.
        request_id: what stood there, to be given back; None: nothing.
        payload_request_id: the same, of the payload.
        protocol_version: as request_id.
    """

    event_name: bool = False
    object_payload: bool = False
    request_id: Any = None
    payload_request_id: Any = None
    protocol_version: Any = None

    def without_request(self) -> Dialect:
        """Returns this dialect without request ids: for lines that reply to nothing."""
        return Dialect(self.event_name, self.object_payload, protocol_version=self.protocol_version)

    def with_request_id(self, request_id: str) -> Dialect:
        """Returns this dialect with this request id at the top."""
        return Dialect(self.event_name, self.object_payload, request_id, None, self.protocol_version)


SEED: Final = Dialect()


@dataclass(frozen=True, slots=True)
class Line:
    """A decoded line. `target` is None where the line names none."""

    message: ServiceMessage
    dialect: Dialect
    target: str | None = None


class LineError(ValueError):
    """A line that cannot be decoded. `dialect` is the line's, as far as that was read."""

    def __init__(self, message: str, dialect: Dialect | None = None) -> None:
        super().__init__(message)
        self.dialect = dialect


def decode(line: bytes | bytearray) -> Line:
    """Decodes one line.

    Raises:
        LineError: it is not UTF-8, no JSON object, or lacks a field; the text names it.
    """
    try:
        fields: dict[str, msgspec.Raw] = _fields.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise LineError(f"the line is not UTF-8: {error.reason} at byte {error.start}") from None
    except msgspec.ValidationError:
        raise LineError("the line is JSON, but no object") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise LineError(f"the line is not JSON: {error}") from None
    try:
        payload, payload_request_id = _payload(fields.get("payload"))
    except LineError as error:
        raise LineError(str(error), _dialect(fields, None)) from None
    dialect = _dialect(fields, payload_request_id)
    kind: MessageKind = _text(fields, "event_name" if dialect.event_name else "type", dialect)  # type: ignore[assignment]
    if kind not in KINDS:
        raise LineError(f"type must be COMMAND or STATUS, not {kind[:40]!r}", dialect)
    target = _text(fields, "target", dialect) if "target" in fields else None
    message = ServiceMessage(_text(fields, "sender", dialect), kind, payload, _time(fields, dialect))
    return Line(message, dialect, target)


def is_whole(text: bytes | bytearray) -> bool:
    """Whether a text without a newline is one complete JSON value that ends as an object does."""
    if not text.rstrip().endswith(b"}"):
        return False
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return False
    return True


def encode(message: ServiceMessage, dialect: Dialect = SEED, limit: int = MAX_LINE_BYTES) -> bytes:
    """Encodes a message as a line of a dialect, with its newline.

    Raises:
        MessageTooLargeError: it has more than `limit` bytes.
    """
    message = message.escaped()
    kind = "event_name" if dialect.event_name else "type"
    payload = json.dumps(_object(message.payload, dialect)) if dialect.object_payload else _quoted(message.payload)
    # As json.dumps would write a dict of these, without making the dict.
    text = (
        f'{{"sender": {_quoted(message.sender)}, "{kind}": "{message.type}", "payload": {payload}, '
        f'"timestamp": "{message.timestamp.isoformat()}"'
    )
    if dialect.request_id is not None:
        text += f', "request_id": {json.dumps(dialect.request_id)}'
    if dialect.protocol_version is not None:
        text += f', "protocol_version": {json.dumps(dialect.protocol_version)}'
    line = (text + "}").encode()
    if len(line) > limit:
        raise MessageTooLargeError(
            f"the line has {len(line)} bytes, at most {limit} are allowed", details={"size": len(line), "limit": limit}
        )
    return line + b"\n"


def failure(text: str) -> str:
    """Returns the payload of an error."""
    return json.dumps({"status": "error", "message": safe_text(text)})


_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _dialect(fields: dict[str, msgspec.Raw], payload_request_id: Any) -> Dialect:
    payload = fields.get("payload")
    return Dialect(
        event_name="type" not in fields and "event_name" in fields,
        object_payload=payload is not None and bytes(payload)[:1] == b"{",
        request_id=_value(fields.get("request_id")),
        payload_request_id=payload_request_id,
        protocol_version=_value(fields.get("protocol_version")),
    )


def _value(raw: msgspec.Raw | None) -> Any:
    try:
        return None if raw is None else msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise LineError(f"{_short(raw or b'')} cannot be given back: {error}") from None


def _text(fields: dict[str, msgspec.Raw], name: str, dialect: Dialect) -> str:
    raw = fields.get(name)
    if raw is None:
        raise LineError(f"{name} is missing", dialect)
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.DecodeError:
        raise LineError(f"{name} must be text, not {_short(raw)}", dialect) from None


def _payload(raw: msgspec.Raw | None) -> tuple[str, Any]:
    """Returns the payload as text (an object exactly as it was written), and the request_id in it."""
    if raw is None:
        raise LineError("payload is missing")
    text = bytes(raw)
    try:
        if text[:1] == b'"':
            return msgspec.json.decode(text, type=str), None
        if text[:1] == b"{":
            inside: dict[str, msgspec.Raw] = _fields.decode(text)
            return text.decode(), _value(inside.get("request_id"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise LineError(f"payload cannot be read: {error}") from None
    raise LineError(f"payload must be text or an object, not {_short(raw)}")


def _time(fields: dict[str, msgspec.Raw], dialect: Dialect) -> datetime:
    if "timestamp" not in fields:
        return datetime.now(UTC)
    text = _text(fields, "timestamp", dialect)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise LineError(f"timestamp must be an ISO 8601 time, not {text[:40]!r}", dialect) from None


def _short(raw: msgspec.Raw | bytes) -> str:
    return bytes(raw)[:40].decode(errors="replace")


def _object(payload: str, dialect: Dialect) -> dict[str, Any]:
    """Returns a text as the object that the later dialect has: its own where it is one, else {"message": text}."""
    try:
        found = json.loads(payload, parse_constant=_refuse)
    except (ValueError, RecursionError):
        found = payload
    fields: dict[str, Any] = found if isinstance(found, dict) else {"message": payload}
    if dialect.payload_request_id is not None:
        fields.setdefault("request_id", dialect.payload_request_id)
        fields.setdefault("protocol_version", PROTOCOL_VERSION)
    return fields


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
