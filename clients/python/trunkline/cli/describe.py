"""Wire messages and records as plain dicts, for JSON output."""

from __future__ import annotations

import base64
import json
from typing import Any

from trunkline.v1 import message_pb2


def describe_message(message: message_pb2.Message, channel: str, sequence: int | None = None) -> dict[str, Any]:
    """A message with its channel, named as `AgentMessage` names things; what is not set is None.

    A payload that is no JSON is told as `payload_text`, or, where it came as bytes, as `data_base64`.
    """
    return {
        "channel": channel,
        **({"sequence": sequence} if sequence is not None else {}),
        "message_id": message.message_id,
        "message_type": message.message_type,
        "sender_id": message.sender_id,
        "recipient_id": message.recipient_id or None,
        **_payload(message),
        "correlation_id": message.correlation_id or None,
        "priority": _priority(message.priority),
        "timestamp": message.timestamp.ToJsonString() if message.HasField("timestamp") else None,
        "ttl_seconds": message.ttl_seconds if message.HasField("ttl_seconds") else None,
        "ordering_key": message.ordering_key or None,
        "metadata": _metadata(message.metadata_json),
    }


def message_facts(message: message_pb2.Message) -> list[tuple[str, Any]]:
    """The envelope for people: what is set, below each other."""
    sender = message.sender_id or "-"
    facts = {
        "id": message.message_id,
        "type": message.message_type,
        "sender": f"{sender} -> {message.recipient_id}" if message.recipient_id else sender,
        "priority": _priority(message.priority),
        "made": message.timestamp.ToJsonString() if message.HasField("timestamp") else "",
        "correlation id": message.correlation_id,
        "ttl": f"{message.ttl_seconds:,} s" if message.HasField("ttl_seconds") else "",
        "ordering key": message.ordering_key,
        "metadata": message.metadata_json if _metadata(message.metadata_json) != {} else "",
    }
    return [(name, value) for name, value in facts.items() if value]


def payload_text(message: message_pb2.Message) -> str:
    """The payload for people."""
    if message.WhichOneof("payload") == "data":
        kind = message.content_type or "application/octet-stream"
        return f"<{len(message.data):,} bytes of {kind}>"
    return message.json or "{}"


def _payload(message: message_pb2.Message) -> dict[str, Any]:
    if message.WhichOneof("payload") == "data":
        text = base64.b64encode(message.data).decode()
        return {"data_base64": text, "content_type": message.content_type or "application/octet-stream"}
    try:
        return {"payload": json.loads(message.json or "{}")}
    except ValueError:
        return {"payload_text": message.json}


def _metadata(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


def _priority(number: int) -> str:
    if number in message_pb2.Priority.values():
        return message_pb2.Priority.Name(number or message_pb2.PRIORITY_MEDIUM).removeprefix("PRIORITY_").lower()
    return str(number)
