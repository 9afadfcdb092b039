"""Messages as plain dicts for JSON, and as text for people."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from trunkline.cli.times import json_time
from trunkline.errors import InvalidMessageError

if TYPE_CHECKING:
    from trunkline import AgentMessage


def describe_message(message: AgentMessage) -> dict[str, Any]:
    """Returns a message with its channel and sequence, named as `AgentMessage` names things; None for what is not set.

    `payload` is any JSON value. A payload that is broken JSON is given as `payload_text` and `payload_error`; anything
    else as `data_base64` and `content_type`.
    """
    return {
        "channel": message.channel,
        "sequence": message.sequence,
        "message_id": message.message_id,
        "message_type": str(message.message_type),
        "sender_id": message.sender_id,
        "recipient_id": message.recipient_id,
        **_payload(message),
        "correlation_id": message.correlation_id,
        "priority": message.priority.value,
        "timestamp": json_time(message.timestamp),
        "ttl_seconds": message.ttl_seconds,
        "ordering_key": message.ordering_key,
        **_metadata(message),
    }


def message_facts(message: AgentMessage) -> list[tuple[str, Any]]:
    """Returns names and values of the envelope for people, of what is set."""
    sender = message.sender_id or "-"
    facts = {
        "id": message.message_id,
        "type": str(message.message_type),
        "sender": f"{sender} -> {message.recipient_id}" if message.recipient_id else sender,
        "priority": message.priority.value,
        "made": json_time(message.timestamp),
        "correlation id": message.correlation_id,
        "ttl": f"{message.ttl_seconds:,} s" if message.ttl_seconds is not None else "",
        "ordering key": message.ordering_key,
        "metadata": " ".join(
            each if isinstance(each, str) else _encode(each) for each in _metadata(message).values() if each
        ),
    }
    return [(name, value) for name, value in facts.items() if value]


def _metadata(message: AgentMessage) -> dict[str, Any]:
    """Returns the metadata; of what is no JSON object, an error."""
    try:
        return {"metadata": message.metadata}
    except InvalidMessageError as error:
        return {"metadata_error": error.message}


def payload_text(message: AgentMessage) -> str:
    """Returns the payload in one line for people."""
    text = json_text(message)
    return f"<{len(message.data or b''):,} bytes of {message.content_type}>" if text is None else text


def indented_payload(message: AgentMessage) -> list[str]:
    """Returns a JSON payload in lines, indented; none for another one, or a broken one."""
    try:
        return json.dumps(message.json(), indent=2, ensure_ascii=False).splitlines()
    except InvalidMessageError:
        return []


def json_text(message: AgentMessage) -> str | None:
    """Returns the payload as JSON text, as another language sent it, also where it is broken; None where it is none."""
    if message.data is None:
        return _encode(message.payload)
    try:
        return message.data.decode() if message.content_type == "application/json" else None
    except UnicodeDecodeError:
        return None


def _payload(message: AgentMessage) -> dict[str, Any]:
    try:
        return {"payload": message.json()}
    except InvalidMessageError as error:
        text = json_text(message)
        if text is not None:
            return {"payload_text": text, "payload_error": error.message}
    encoded = base64.b64encode(message.data or b"").decode()
    return {"data_base64": encoded, "content_type": message.content_type}


def _encode(value: Any) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()  # as the client writes it
