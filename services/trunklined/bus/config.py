"""The bus's settings. Only here is the environment read (prefix TRUNKLINE_BUS_)."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from trunkline.limits import (
    BUS_PORT,
    MAX_PENDING_REQUESTS,
    MAX_QUEUED_BYTES,
    MAX_QUEUED_MESSAGES,
    MAX_SUBSCRIPTIONS,
)
from trunklined.rpc.config import Address, ServerSettings


class Settings(ServerSettings):
    """What the bus can be told, beside what every program can."""

    model_config = SettingsConfigDict(env_prefix="TRUNKLINE_BUS_")

    address: Address = Field(
        default=f"127.0.0.1:{BUS_PORT}", description="Where to serve: host:port (port 0: any free one) or unix:/path."
    )
    max_queued_messages: int = Field(
        default=MAX_QUEUED_MESSAGES,
        ge=1,
        description="Messages that may wait for one live subscription; beyond it the oldest are dropped.",
    )
    max_queued_bytes: int = Field(
        default=MAX_QUEUED_BYTES,
        ge=1024,
        description="Bytes that may wait for one live subscription; beyond it the oldest are dropped.",
    )
    max_subscriptions: int = Field(
        default=MAX_SUBSCRIPTIONS, ge=1, description="Registered subscriptions; beyond it new ones are refused."
    )
    max_pending_requests: int = Field(
        default=MAX_PENDING_REQUESTS, ge=1, description="Requests that wait; beyond it new ones are refused."
    )
