"""ServiceMessages as the bus has them, and back: the one place that defines how they correspond.

COMMAND is `control`, STATUS is `status_update`; sender, target (`recipient_id`) and timestamp correspond; the payload,
any text, stands as {"payload": text}. What others publish arrives too: `control` as COMMAND, every other type as
STATUS, and a payload of another form as its text: JSON as it was sent, also where it is broken. What is no text comes
as {"content_type": …, "base64": …}.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from trunkline.channels import RESPONSE, agent_channel, check_channel
from trunkline.errors import InvalidChannelError
from trunkline.message_channel.service_message import ServiceMessage
from trunkline.models.enums import MessageType
from trunkline.models.json import is_json_type
from trunkline.text import safe_text

if TYPE_CHECKING:
    from trunkline.models import AgentMessage

_PAYLOAD = "payload"


def to_agent_message(message: ServiceMessage, target: str, correlation_id: str | None = None) -> AgentMessage:
    """Makes a ServiceMessage one for the bus. A naive timestamp is taken as this machine's time; text that UTF-8 cannot
    say is escaped."""
    from trunkline.models import AgentMessage  # what only serves a socket needs none

    message = message.escaped()
    return AgentMessage(
        message_type=MessageType.CONTROL if message.type == "COMMAND" else MessageType.STATUS_UPDATE,
        sender_id=message.sender,
        recipient_id=safe_text(target) or None,
        payload={_PAYLOAD: message.payload},
        timestamp=message.timestamp.astimezone(),
        correlation_id=correlation_id,
    )


def from_agent_message(message: AgentMessage) -> ServiceMessage:
    """Makes a message of the bus a ServiceMessage."""
    return ServiceMessage(
        message.sender_id,
        "COMMAND" if message.message_type == MessageType.CONTROL else "STATUS",
        _text(message),
        message.timestamp,
    )


def addressed(message: ServiceMessage, target: str, correlation_id: str | None = None) -> tuple[str, AgentMessage]:
    """Returns the channel on which a message for a target is published, and the message as it is published there.

    Args:
        correlation_id: of the request that it replies to. The bus finds the requester by it, so a target whose name
            cannot be a channel's is replied to on the common channel.

    Raises:
        InvalidChannelError: the target is no channel token, and the message replies to nothing.
    """
    try:
        channel = check_channel(agent_channel(target))
    except InvalidChannelError:
        if correlation_id is None:
            raise
        channel = RESPONSE
    return channel, to_agent_message(message, target, correlation_id)


def _text(message: AgentMessage) -> str:
    if message.data is not None:
        kind = message.content_type or ""
        if is_json_type(kind) or kind.startswith("text/"):
            try:
                return message.data.decode()
            except UnicodeDecodeError:
                pass  # its bytes are not of its content type: passed on as bytes
        return json.dumps({"content_type": kind, "base64": base64.b64encode(message.data).decode()})
    text = message.payload.get(_PAYLOAD)
    if isinstance(text, str) and len(message.payload) == 1:
        return text
    return json.dumps(message.payload, ensure_ascii=False)
