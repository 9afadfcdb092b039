"""The sidecar's settings and bounds. Only here is the environment read (prefix TRUNKLINE_SIDECAR_)."""

from __future__ import annotations

import grp
import os
import re
from dataclasses import dataclass, field
from typing import Final, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from trunkline.addresses import MAX_SOCKET_PATH, UNIX
from trunkline.limits import BUS_PORT, DEFAULT_REQUEST_TIMEOUT, MAX_REQUEST_TIMEOUT, STATE_PORT, MiB
from trunkline.message_channel.limits import DEFAULT_SOCKET_PATH, MAX_CONNECTIONS
from trunkline.message_channel.peer import Peer, allowed
from trunklined.rpc.config import Address, ServerSettings

DEFAULT_ADDRESS: Final = "unix:/tmp/trunkline.sock"

MAX_PENDING_LINES: Final = 1_000
"""Lines of one connection that are being worked on; beyond it the connection is not read."""

MAX_REMEMBERED: Final = 4_096
"""Commands whose correlation ids are remembered, each way; beyond it the oldest is forgotten."""

MAX_WAITING_BYTES: Final = 4 * MiB
"""Of one OpenStream stream opened while the bus is away: what waits for the bus. Beyond it BUS_DISCONNECTED."""

MAX_UNANSWERED_BYTES: Final = 16 * MiB
"""Of one stream: what the bus was given to store and has not answered. Beyond it the stream is not read."""

OWN_SUFFIX: Final = ".own"
"""What the path of gRPC's own socket ends with, where other users know another."""

_MODE: Final = re.compile(r"0?[0-7]{3}")


@dataclass(frozen=True, slots=True)
class SocketAccess:
    """Who may connect to the UNIX sockets: a program whose user or group is named. By default the own user and root.

    Args:
        uids, gids: users, and effective groups.
        mode, group: of the sockets' files. None: the own group.
    """

    uids: frozenset[int] = field(default_factory=lambda: allowed(None))
    gids: frozenset[int] = frozenset()
    mode: int = 0o600
    group: int | None = None

    def admits(self, peer: Peer) -> bool:
        """Returns whether a program may connect."""
        return peer.uid in self.uids or peer.gid in self.gids


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
        description="Users whose programs may connect to the UNIX sockets: numbers with commas. Empty: the own one and"
        " root, and those of --allowed-gids.",
    )
    allowed_gids: str = Field(
        default="", description="Groups whose programs may, by their effective group: numbers with commas."
    )
    socket_mode: str = Field(
        default="",
        description="The mode of the sockets' files, in octal, such as 0660. Empty: 0600, or 0666 where other users may"
        " connect; each is asked for its user in any case.",
    )
    socket_group: str = Field(
        default="", description="The group of these files: a number or a name. Empty: this program's own."
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

    @field_validator("allowed_uids", "allowed_gids")
    @classmethod
    def _check_numbers(cls, numbers: str) -> str:
        for number in filter(None, numbers.split(",")):
            if not number.strip().isascii() or not number.strip().isdigit():
                raise ValueError(f"want numbers with commas, such as 0,1000, not {number!r}")
        return numbers

    @field_validator("socket_mode")
    @classmethod
    def _check_mode(cls, mode: str) -> str:
        if mode and (not _MODE.fullmatch(mode) or int(mode, 8) & 0o600 != 0o600):
            raise ValueError("want the mode of a file in octal that lets its owner read and write, such as 0660")
        return mode

    @field_validator("socket_group")
    @classmethod
    def _check_group(cls, group: str) -> str:
        if group and not (group.isascii() and group.isdigit()):
            try:
                grp.getgrnam(group)
            except KeyError:
                raise ValueError("there is no group of that name here; a number is taken as it is") from None
        return group

    @model_validator(mode="after")
    def _check_room_behind_door(self) -> Self:
        if self.listens_at != self.serves_at and len(os.fsencode(self.listens_at.removeprefix(UNIX))) > MAX_SOCKET_PATH:
            raise ValueError(
                f"--address (TRUNKLINE_SIDECAR_ADDRESS) is {self.address}: where other users are let in, its path has"
                f" at most {MAX_SOCKET_PATH - len(OWN_SUFFIX)} bytes"
            )
        return self

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
    def access(self) -> SocketAccess:
        """Who may connect to the UNIX sockets, and the mode and the group of their files."""
        uids = _numbers(self.allowed_uids)
        gids = _numbers(self.allowed_gids)
        for_others = bool(gids or uids - allowed(None))
        mode = int(self.socket_mode, 8) if self.socket_mode else 0o666 if for_others else 0o600
        group = self.socket_group
        return SocketAccess(
            uids=allowed(uids or None),
            gids=gids,
            mode=mode,
            group=None if not group else int(group) if group.isdigit() else grp.getgrnam(group).gr_gid,
        )

    @property
    def listens_at(self) -> str:
        """Where gRPC itself listens: beside `address`, where a door stands there for other users."""
        if not self.address.startswith(UNIX) or self.access == SocketAccess():
            return self.serves_at
        return f"{self.address}{OWN_SUFFIX}"


def _numbers(text: str) -> frozenset[int]:
    return frozenset(int(number) for number in text.split(",") if number.strip())
