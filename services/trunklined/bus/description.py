"""Description: what an encoded message says of itself."""

from __future__ import annotations

from typing import NamedTuple


class Description(NamedTuple):
    """What an encoded message says of itself."""

    message_id: str
    message_type: str
    sender_id: str
    correlation_id: str
