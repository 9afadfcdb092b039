"""Target: where Redis is, as one URL says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import quote, unquote

from trunklined.redis.tls import Tls

Topology = Literal["standalone", "sentinel", "cluster"]

SCHEMES: Final[dict[str, tuple[Topology, bool]]] = {
    "redis": ("standalone", False),
    "rediss": ("standalone", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
"""The topology and whether it is TLS, by the scheme of a URL."""

REDIS_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
MAX_PREFIX: Final = 64

Node = tuple[str, int]
"""Host and port of a server."""


@dataclass(frozen=True, slots=True)
class Target:
    """A Redis and how it is reached. As text it has no password.

    Args:
        topology: standalone, sentinel or cluster.
        nodes: the server; the sentinels; or the nodes of the cluster that are asked first.
        db: number of the database.
        service: the master's name among the sentinels.
        user: the ACL user. None: the default one.
        password: of the user.
        sentinel_user: the ACL user of the sentinels.
        sentinel_password: of the sentinels.
        tls: None: without TLS.
        prefix: what every key begins with, in braces with the room that it belongs to.
        timeout: seconds to wait for a connection, and for an answer.
        wait: seconds that a call waits for a Redis that is away, while nothing was done. 0: it fails at once.
    """

    topology: Topology
    nodes: tuple[Node, ...]
    db: int = 0
    service: str = ""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    sentinel_user: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    prefix: str = "trunkline"
    timeout: float = 5.0
    wait: float = 5.0

    def __str__(self) -> str:
        secure = self.tls is not None
        scheme = next(name for name, meaning in SCHEMES.items() if meaning == (self.topology, secure))
        user = f"{quote(self.user or '')}{':***' if self.password else ''}@" if self.user or self.password else ""
        nodes = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.nodes)
        path = {"standalone": f"/{self.db}", "sentinel": f"/{self.service}/{self.db}", "cluster": ""}[self.topology]
        return f"{scheme}://{user}{nodes}{path}"

    def key(self, room: str, name: str) -> str:
        """Returns a key of a room, such as the state's. All keys of one room are in one slot of a cluster."""
        return f"{self.tag(room)}:{name}"

    def tag(self, room: str) -> str:
        """Returns the hash tag of a room, with which its keys begin."""
        return f"{{{self.prefix}:{room}}}"


def parse_url(url: str) -> Target:
    """Returns what a URL says, without the options that it cannot carry.

        redis://[user:password@]host[:port][/db]
        redis+sentinel://[user:password@]host[:port],host[:port]/service[/db]
        redis+cluster://[user:password@]host[:port],host[:port]

    and the same with `rediss` for TLS. User and password are percent-encoded.

    Raises:
        ValueError: says what is wrong; never has the password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"is no Redis URL: it begins with one of {', '.join(f'{name}://' for name in SCHEMES)}")
    topology, secure = SCHEMES[scheme]
    if "?" in rest or "#" in rest:
        raise ValueError("has options behind ? or #: they are settings of their own")
    authority, _, path = rest.partition("/")
    credentials, _, hosts = authority.rpartition("@")
    user, _, password = credentials.partition(":")
    port = SENTINEL_PORT if topology == "sentinel" else REDIS_PORT
    nodes = tuple(_node(text, port) for text in hosts.split(","))
    if topology == "standalone" and len(nodes) > 1:
        raise ValueError("names several hosts: that is redis+sentinel:// or redis+cluster://")
    service, db = _path(topology, path)
    return Target(
        topology,
        nodes,
        db,
        service,
        unquote(user) or None,
        unquote(password) or None,
        tls=Tls() if secure else None,
    )


def _path(topology: Topology, path: str) -> tuple[str, int]:
    parts = path.rstrip("/").split("/") if path.strip("/") else []
    service = ""
    if topology == "sentinel":
        if not parts:
            raise ValueError("names no service: redis+sentinel://host:port,host:port/SERVICE")
        service = unquote(parts.pop(0))
    if len(parts) > 1:
        raise ValueError(f"has a path that is too long: {path!r}")
    if not parts:
        return service, 0
    if not (parts[0].isascii() and parts[0].isdigit()):
        raise ValueError(f"has the database {parts[0]!r}, which is no number")
    db = int(parts[0])
    if topology == "cluster" and db:
        raise ValueError(f"has the database {db}: a cluster has only 0")
    return service, db


def _node(text: str, default_port: int) -> Node:
    host, port = text, str(default_port)
    if text.startswith("["):
        host, closed, behind = text[1:].partition("]")
        if not closed or (behind and not behind.startswith(":")):
            raise ValueError(f"has the host {text!r}, which is no [IPv6 address]:port")
        port = behind[1:] or port
    elif ":" in text:
        host, _, port = text.rpartition(":")
    if not host or any(each.isspace() or each in "@:/" for each in host if not text.startswith("[")):
        raise ValueError("has no host, or one that cannot be: host:port")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ValueError(f"has the port {port!r}: it is a number from 1 to 65535")
    return host, int(port)


def check_prefix(prefix: str) -> str:
    """Returns a prefix that keys may begin with; raises ValueError."""
    if not 0 < len(prefix) <= MAX_PREFIX or not all(each.isalnum() or each in "._:-" for each in prefix):
        raise ValueError(f"must be 1 to {MAX_PREFIX} letters, digits, '.', '_', ':' or '-'")
    return prefix
