"""The sidecar's settings and bounds. Only here is the environment read (prefix TRUNKLINE_SIDECAR_)."""

from __future__ import annotations

import os
from typing import Final, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from trunkline.addresses import MAX_SOCKET_PATH
from trunkline.limits import BUS_PORT, DEFAULT_REQUEST_TIMEOUT, MAX_REQUEST_TIMEOUT, STATE_PORT, MiB
from trunkline.message_channel.limits import DEFAULT_SOCKET_PATH, MAX_CONNECTIONS
from trunklined.rpc.config import Address, ServerSettings

DEFAULT_ADDRESS: Final = "unix:/tmp/trunkline.sock"

MAX_PENDING_LINES: Final = 1_000
"""Lines of one connection that are being worked on; beyond it the connection is not read."""

MAX_REMEMBERED: Final = 4_096
"""Commands whose correlation ids are remembered, each way; beyond it the oldest is forgotten."""

MAX_WAITING_BYTES: Final = 4 * MiB
"""Of one Connect stream that was opened while the bus is away: what waits for the bus. Beyond it BUS_DISCONNECTED."""


class Settings(ServerSettings):
    """The settings of the sidecar, beside those of every program."""

    model_config = SettingsConfigDict(env_prefix="TRUNKLINE_SIDECAR_")

    address: Address = Field(default=DEFAULT_ADDRESS, description="Where to serve: unix:/path or host:port.")
    bus_address: Address = Field(default=f"127.0.0.1:{BUS_PORT}", description="The bus to forward to.")
    state_address: Address = Field(default=f"127.0.0.1:{STATE_PORT}", description="The state service to forward to.")
    socket_path: str = Field(
        default=DEFAULT_SOCKET_PATH,
        description="The UNIX socket for programs that speak newline-delimited JSON. Empty: none.",
    )
    allowed_uids: str = Field(
        default="",
        description="Users that may connect to that socket: numbers with commas. Empty: the own one and root.",
    )
    max_connections: int = Field(default=MAX_CONNECTIONS, ge=1, le=4_096, description="Clients of that socket.")
    command_timeout: float = Field(
        default=DEFAULT_REQUEST_TIMEOUT,
        gt=0,
        le=MAX_REQUEST_TIMEOUT,
        description="What a COMMAND on that socket waits for its answer, in seconds.",
    )

    on_behalf_of: bool = Field(
        default=False,
        description="Tell the services whose each call is: then permissions and limits are those of the agents. They"
        " must trust this sidecar to say so. Needs an empty store_path.",
    )
    store_path: str = Field(
        default=".trunkline/sidecar.db",
        description="The file for stored publishes while the bus is away; made where there is none. Empty: they fail.",
    )
    max_stored_messages: int = Field(
        default=100_000, ge=1, description="Messages in that file; beyond it stored publishes are refused."
    )
    max_stored_bytes: int = Field(
        default=256 * MiB, ge=1024, description="Their bytes; beyond it stored publishes are refused."
    )

    @field_validator("socket_path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        if "\0" in path or len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise ValueError(f"a UNIX socket's path has at most {MAX_SOCKET_PATH} bytes")
        return path

    @field_validator("allowed_uids")
    @classmethod
    def _check_uids(cls, uids: str) -> str:
        for uid in filter(None, uids.split(",")):
            if not uid.strip().isascii() or not uid.strip().isdigit():
                raise ValueError(f"want user numbers with commas, such as 0,1000, not {uid!r}")
        return uids

    @model_validator(mode="after")
    def _check_whose(self) -> Self:
        if self.on_behalf_of and self.store_path:
            raise ValueError(
                "--on-behalf-of (TRUNKLINE_SIDECAR_ON_BEHALF_OF) is set, but also --store-path"
                f" (TRUNKLINE_SIDECAR_STORE_PATH) is {self.store_path!r}: what is kept while the bus is away is handed"
                " on as the sidecar's own, so let it be empty"
            )
        return self

    @property
    def uids(self) -> frozenset[int] | None:
        """`allowed_uids` as numbers; None: the default."""
        return frozenset(int(uid) for uid in self.allowed_uids.split(",") if uid.strip()) or None
