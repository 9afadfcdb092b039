"""The state service's settings; the one place where its environment is read (prefix TRUNKLINE_STATE_)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from trunkline.limits import (
    MAX_OUTBOX_BYTES,
    MAX_OUTBOX_MESSAGES,
    MAX_WAITING_WRITES,
    MAX_WAITING_WRITES_BYTES,
    MAX_WATCH_QUEUE,
    MAX_WATCH_QUEUE_BYTES,
    STATE_PORT,
    WATCH_HISTORY,
    WATCH_HISTORY_BYTES,
    MiB,
)
from trunklined.redis.settings import RedisSettings
from trunklined.rpc.config import AccessSettings, Address, AddressOrEmpty, MovingSettings, ServerSettings


class Settings(ServerSettings, MovingSettings, RedisSettings, AccessSettings):
    """The settings of the state service, beside those of every program."""

    model_config = SettingsConfigDict(env_prefix="TRUNKLINE_STATE_")

    address: Address = Field(
        default=f"127.0.0.1:{STATE_PORT}", description="Where to serve: host:port (port 0: any free one) or unix:/path."
    )
    engine: Literal["sqlite", "memory", "redis"] = Field(
        default="sqlite",
        description="Where records are kept: sqlite (one file, synced), memory (until the end), redis (for replicas).",
    )
    path: Path = Field(
        default=Path(".trunkline/state.db"), description="The sqlite engine's file; made where there is none."
    )
    max_store_bytes: int | None = Field(
        default=None, ge=MiB, description="The file's largest size; beyond it writes are refused. Unset: the disk's."
    )
    watch_history: int = Field(
        default=WATCH_HISTORY, ge=1, description="Changes that are kept for watches that resume."
    )
    watch_history_bytes: int = Field(
        default=WATCH_HISTORY_BYTES, ge=MiB, description="The same in bytes of records; whichever is reached first."
    )
    max_watch_queue: int = Field(
        default=MAX_WATCH_QUEUE, ge=1, description="Changes that may wait for one watcher; beyond it the watch ends."
    )
    max_watch_queue_bytes: int = Field(
        default=MAX_WATCH_QUEUE_BYTES, ge=MiB, description="The same in bytes of records; whichever is reached first."
    )
    watch_progress_seconds: float = Field(
        default=10.0, gt=0, le=3600, description="A watcher hears how far it is after such a time without a change."
    )
    max_waiting_writes: int = Field(
        default=MAX_WAITING_WRITES, ge=1, description="Writes that may wait for the disk; beyond it they are refused."
    )
    max_waiting_bytes: int = Field(
        default=MAX_WAITING_WRITES_BYTES,
        ge=MiB,
        description="The same in bytes of records; whichever is reached first.",
    )
    bus_address: AddressOrEmpty = Field(
        default="", description="The bus that messages of writes go to. Empty: writes that carry messages are refused."
    )
    max_outbox_messages: int = Field(
        default=MAX_OUTBOX_MESSAGES,
        ge=1,
        description="Messages that may wait for the bus; beyond it writes that carry more are refused.",
    )
    max_outbox_bytes: int = Field(
        default=MAX_OUTBOX_BYTES, ge=1024, description="The same in bytes; whichever is reached first."
    )
