"""The bus's settings. Only here is the environment read (prefix TRUNKLINE_BUS_)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_settings import SettingsConfigDict

from trunkline.channels import check_pattern
from trunkline.errors import InvalidChannelError
from trunkline.limits import (
    BUS_PORT,
    DEDUP_MESSAGES,
    DEDUP_SECONDS,
    MAX_DURABLE_SUBSCRIPTIONS,
    MAX_PENDING_REQUESTS,
    MAX_QUEUED_BYTES,
    MAX_QUEUED_MESSAGES,
    MAX_RECENT_BYTES,
    MAX_SUBSCRIPTIONS,
    MAX_TASKS,
    MAX_WAITING_PUBLISHES,
    RETENTION_BYTES,
    RETENTION_SECONDS,
    MiB,
)
from trunklined.redis.settings import RedisSettings
from trunklined.rpc.config import AccessSettings, Address, AddressOrEmpty, MovingSettings, ServerSettings


def _pattern(value: str) -> str:
    try:
        return check_pattern(value)
    except InvalidChannelError as error:
        raise ValueError(error.message) from error


Pattern = Annotated[str, AfterValidator(_pattern)]


class RetentionSettings(BaseModel):
    """How long stored messages of some channels are kept; see `RetentionRule`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pattern: Pattern
    max_age: float | None = Field(default=None, gt=0)
    max_bytes: int | None = Field(default=None, ge=0)
    max_messages: int | None = Field(default=None, ge=0)
    hard: bool = False


class Settings(RedisSettings, MovingSettings, ServerSettings, AccessSettings):
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
    max_queue_memory_bytes: int | None = Field(
        default=None,
        ge=MiB,
        description="Memory that all live subscriptions' queues may take together; beyond it the largest drops its"
        " oldest messages. Unset: a quarter of the machine's memory or of the control group's limit, at least 64 MiB.",
    )
    max_subscriptions: int = Field(
        default=MAX_SUBSCRIPTIONS, ge=1, description="Registered subscriptions; beyond it new ones are refused."
    )
    max_pending_requests: int = Field(
        default=MAX_PENDING_REQUESTS, ge=1, description="Requests that wait; beyond it new ones are refused."
    )
    max_recent_bytes: int = Field(
        default=MAX_RECENT_BYTES,
        ge=0,
        le=1024 * MiB,
        description="Memory for what happened to messages lately, with the messages, which Trace is answered from. 0:"
        " nothing is remembered.",
    )
    engine: Literal["sqlite", "memory", "redis"] = Field(
        default="sqlite",
        description="Where stored messages are kept: sqlite (one file, synced), memory (until the end), or redis (which"
        " several replicas share).",
    )
    advertised_address: AddressOrEmpty = Field(
        default="",
        description="Where the other replicas reach this one: host:port. Empty: where it serves; of all addresses, the"
        " first that the host's name has.",
    )
    redis_wait: float = Field(
        default=10.0,
        ge=0,
        le=600,
        description="How long what is stored, and what concerns it, waits while Redis is away or no replica owns the"
        " journal, in seconds; no longer than its deadline. 0: it fails at once.",
    )
    journal_lease_seconds: float = Field(
        default=5.0,
        ge=1,
        le=60,
        description="How long a replica that died owns the journal still, before another does.",
    )
    journal_copies: int = Field(
        default=0,
        ge=0,
        le=16,
        description="How many replicas of Redis shall have what is stored before it is answered; receipts say"
        " replicated where they had. 0: none is asked.",
    )
    journal_copies_synced: bool = Field(
        default=False,
        description="These shall have it on their disks, not in memory alone. Needs Redis 7.2 or Valkey.",
    )
    journal_copy_seconds: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="How long these are waited for. Beyond it receipts say what Redis itself keeps.",
    )
    path: Path = Field(
        default=Path(".trunkline/bus.db"), description="The sqlite engine's file; made where there is none."
    )
    max_journal_bytes: int | None = Field(
        default=None,
        ge=MiB,
        description="The journal's largest size; beyond it stored publishes are refused. Unset: the disk's or Redis's.",
    )
    replica_ttl: float = Field(
        default=6.0,
        ge=0.5,
        le=3600,
        description="With redis_url: how long the other replicas go on with one that is not heard of, in seconds.",
    )
    stored_patterns: list[Pattern] = Field(
        default=[],
        description="Channels of which everything is stored, unless its publisher says otherwise: a JSON list.",
    )
    retention: list[RetentionSettings] = Field(
        default=[RetentionSettings(pattern=">", max_age=RETENTION_SECONDS, max_bytes=RETENTION_BYTES)],
        description="How long stored messages are kept that no durable subscription needs: a JSON list of objects with"
        " pattern, max_age (seconds), max_bytes, max_messages, and hard (true: also what is needed). The first pattern"
        " that matches a channel counts; what none matches is kept for ever.",
    )
    dedup_seconds: float = Field(
        default=DEDUP_SECONDS, ge=0, le=86_400, description="How long a stored message's id is known."
    )
    dedup_messages: int = Field(
        default=DEDUP_MESSAGES, ge=0, description="Of how many stored messages at the most; the oldest are forgotten."
    )
    max_waiting_publishes: int = Field(
        default=MAX_WAITING_PUBLISHES, ge=1, description="Stored messages that may wait for the disk."
    )
    max_durable_subscriptions: int = Field(
        default=MAX_DURABLE_SUBSCRIPTIONS, ge=1, description="Durable subscriptions; beyond it new ones are refused."
    )
    max_tasks: int = Field(
        default=MAX_TASKS,
        ge=1,
        description="Tasks that are kept; beyond it those that ended first are forgotten, or else new ones refused.",
    )
