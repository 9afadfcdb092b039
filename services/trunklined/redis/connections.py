"""Connections to the master that has some keys.

Whatever the topology, all keys of a room are in one slot, and so on one master. A connection asks where that is before
it is made: the URL, the sentinels, or the nodes of the cluster. When a server says that it is not the master any more,
the connection to it is dropped, and the next one asks again. So the rest of the program has an ordinary client.

redis-py itself drops a connection whose call was cancelled or timed out in the middle of an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import redis
import redis.asyncio
from redis.asyncio.connection import Connection as AsyncConnection
from redis.asyncio.connection import ConnectionPool as AsyncPool
from redis.asyncio.connection import SSLConnection as AsyncSSLConnection
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool, Connection, SSLConnection
from redis.connection import ConnectionPool as Pool
from redis.crc import key_slot
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import TimeoutError as LateError
from redis.retry import Retry

from trunklined.redis.errors import ELSEWHERE, NotConnectedError
from trunklined.redis.target import Node, Target
from trunklined.redis.tls import Tls

MAX_CONNECTIONS: Final = 64
"""Connections of one client at the most; who needs more waits or fails clearly."""


def connect(
    target: Target,
    room: str,
    *,
    max_connections: int = MAX_CONNECTIONS,
    on_connected: Callable[[], None] = lambda: None,
) -> redis.asyncio.Redis:
    """Returns a client of the master that has a room's keys. It connects when it is used, and calls `on_connected` each
    time; bytes come back as bytes, and nothing is tried again. `aclose()` ends it."""
    kind = AsyncMasterConnection if target.tls is None else AsyncTlsMasterConnection
    pool = AsyncPool(
        connection_class=kind,
        max_connections=max_connections,
        retry=AsyncRetry(NoBackoff(), 0),
        on_connected=on_connected,
        **_options(target, room),
    )
    return redis.asyncio.Redis.from_pool(pool)


def connect_sync(target: Target, room: str, *, max_connections: int = MAX_CONNECTIONS) -> redis.Redis:
    """Returns the same for threads; `close()` ends it."""
    pool = BlockingConnectionPool(
        connection_class=MasterConnection if target.tls is None else TlsMasterConnection,
        max_connections=max_connections,
        timeout=target.timeout,
        retry=Retry(NoBackoff(), 0),
        **_options(target, room),
    )
    return redis.Redis.from_pool(pool)


def _options(target: Target, room: str) -> dict[str, Any]:
    """The keyword arguments of a master's connections."""
    return {**_socket_options(target, target.user, target.password), "db": target.db, "target": target, "room": room}


def _socket_options(target: Target, user: str | None, password: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {
        "username": user,
        "password": password,
        "socket_timeout": target.timeout,
        "socket_connect_timeout": target.timeout,
        "socket_keepalive": True,
        "protocol": 2,
    }
    if target.tls is not None:
        options["tls"] = target.tls
    return options


def _guide_options(target: Target, *kinds: type) -> dict[str, Any]:
    """The keyword arguments of a pool for a sentinel, or for a node of a cluster that is asked for the master.

    Args:
        kinds: of connection, without TLS and with it.
    """
    by_sentinels = target.topology == "sentinel"
    user = target.sentinel_user if by_sentinels else target.user
    password = target.sentinel_password if by_sentinels else target.password
    return {**_socket_options(target, user, password), "connection_class": kinds[target.tls is not None]}


def _question(target: Target) -> tuple[str, ...]:
    if target.topology == "sentinel":
        return "SENTINEL", "GET-MASTER-ADDR-BY-NAME", target.service
    return "CLUSTER", "SHARDS"


def _answer(target: Target, room: str, asked: Node, answer: Any) -> Node | None:
    """Reads the master's address out of what a sentinel or a node of a cluster says; None: it knows none."""
    if target.topology == "sentinel":
        return None if not answer else (_text(answer[0]), int(answer[1]))
    slot = key_slot(target.tag(room).encode())
    for shard in map(_pairs, answer):
        slots = shard["slots"]
        if any(int(first) <= slot <= int(last) for first, last in zip(slots[::2], slots[1::2], strict=True)):
            for node in map(_pairs, shard["nodes"]):
                if _text(node["role"]) == "master" and _text(node["health"]) == "online":
                    port = node.get("tls-port") if target.tls is not None else node.get("port")
                    host = _text(node["endpoint"] or b"")
                    return (asked[0] if host in ("", "?") else host), int(port or node["port"])
    return None


def _pairs(flat: Any) -> dict[str, Any]:
    if isinstance(flat, dict):
        return {_text(key): value for key, value in flat.items()}
    return {_text(key): value for key, value in zip(flat[::2], flat[1::2], strict=True)}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _nowhere(target: Target, room: str, faults: list[str]) -> NotConnectedError:
    what = f"the master {target.service!r}" if target.topology == "sentinel" else f"the slot of {target.tag(room)!r}"
    return NotConnectedError(f"nobody knows {what}: {'; '.join(faults)}")


async def locate(target: Target, room: str) -> Node:
    """Returns where the master of a room's keys is, of the first guide that knows.

    Raises:
        NotConnectedError: nobody knows; has what each said.
        AuthenticationError: a guide refuses user or password.
    """
    if target.topology == "standalone":
        return target.nodes[0]
    faults = []
    for host, port in target.nodes:
        options = _guide_options(target, AsyncConnection, AsyncTlsConnection)
        pool = AsyncPool(host=host, port=port, retry=AsyncRetry(NoBackoff(), 0), **options)
        guide = redis.asyncio.Redis.from_pool(pool)
        try:
            found = _answer(target, room, (host, port), await guide.execute_command(*_question(target)))
        except AuthenticationError:
            raise
        except RedisError as error:
            faults.append(f"{host}:{port}: {error}")
            continue
        finally:
            await guide.aclose()
        if found is not None:
            return found
        faults.append(f"{host}:{port}: not known there")
    raise _nowhere(target, room, faults)


def locate_sync(target: Target, room: str) -> Node:
    """Returns the same, for threads; see `locate`."""
    if target.topology == "standalone":
        return target.nodes[0]
    faults = []
    for host, port in target.nodes:
        options = _guide_options(target, Connection, TlsConnection)
        guide = redis.Redis.from_pool(Pool(host=host, port=port, retry=Retry(NoBackoff(), 0), **options))
        try:
            found = _answer(target, room, (host, port), guide.execute_command(*_question(target)))
        except AuthenticationError:
            raise
        except RedisError as error:
            faults.append(f"{host}:{port}: {error}")
            continue
        finally:
            guide.close()
        if found is not None:
            return found
        faults.append(f"{host}:{port}: not known there")
    raise _nowhere(target, room, faults)


def _check_role(role: Any, where: str) -> None:
    said = _text(role[0])
    if said != "master":
        raise NotConnectedError(f"{where} is no master but a {said.replace('slave', 'read-only replica')}")


class AsyncTlsConnection(AsyncSSLConnection):
    """A connection by TLS, of what the files have now: redis-py reads them once for each, and trusts the operating
    system's authorities besides those that are named."""

    def __init__(self, *, tls: Tls, **words: Any) -> None:
        self._tls = tls
        super().__init__(**words)

    def _connection_arguments(self) -> dict[str, Any]:
        arguments = super(AsyncSSLConnection, self)._connection_arguments()
        return {**arguments, "ssl": self._tls.context()}


class TlsConnection(SSLConnection):
    """The same for threads."""

    def __init__(self, *, tls: Tls, **words: Any) -> None:
        self._tls = tls
        super().__init__(**words)

    def _wrap_socket_with_ssl(self, sock: Any) -> Any:
        return self._tls.context().wrap_socket(sock, server_hostname=self.host)


class _AsyncMaster:
    """What makes a connection of redis-py one to the master of a room."""

    host: str
    port: int

    def __init__(self, *, target: Target, room: str, on_connected: Callable[[], None], **words: Any) -> None:
        self._target = target
        self._room = room
        self._on_connected = on_connected
        super().__init__(**words)

    async def _connect(self) -> None:
        self.host, self.port = await locate(self._target, self._room)
        await super()._connect()  # type: ignore[misc]

    async def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """Connects; raises `NotConnectedError`, or `AuthenticationError`."""
        try:
            await super().connect_check_health(check_health, retry_socket_connect)  # type: ignore[misc]
        except (AuthenticationError, NoPermissionError, NotConnectedError):
            raise
        except RedisError as error:
            if isinstance(error.__cause__, (AuthenticationError, NotConnectedError)):
                raise error.__cause__ from None
            raise NotConnectedError(str(error)) from error

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Logs in, and makes sure that the server is a master."""
        await super().on_connect_check_health(check_health)  # type: ignore[misc]
        await self.send_command("ROLE", check_health=False)  # type: ignore[attr-defined]
        with suppress(NoPermissionError):  # then a write says so
            _check_role(await self.read_response(), f"{self.host}:{self.port}")
        self._on_connected()

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Sends a command. Not as redis-py does, by `asyncio.wait_for`: that of Python 3.11 swallows a cancellation at
        the moment in which it ends, and makes a task for each command."""
        connection: Any = self
        if not connection.is_connected:
            await self.connect_check_health(check_health=False)
        pieces = command if isinstance(command, list) else [command.encode() if isinstance(command, str) else command]
        try:
            async with asyncio.timeout(connection.socket_timeout):
                connection._writer.writelines(pieces)
                await connection._writer.drain()
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, TimeoutError):
                raise LateError("Timeout writing to socket") from None
            if isinstance(error, OSError):
                raise LostError(f"Error while writing to socket: {error}") from error
            raise

    async def read_response(self, *args: Any, **words: Any) -> Any:
        """Reads an answer; drops a connection to whoever is not the master."""
        try:
            return await super().read_response(*args, **words)  # type: ignore[misc]
        except ELSEWHERE:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise


class _Master:
    """The same for threads."""

    host: str
    port: int

    def __init__(self, *, target: Target, room: str, **words: Any) -> None:
        self._target = target
        self._room = room
        super().__init__(**words)

    def _connect(self) -> Any:
        self.host, self.port = locate_sync(self._target, self._room)
        return super()._connect()  # type: ignore[misc]

    def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """Connects; raises `NotConnectedError`, or `AuthenticationError`."""
        try:
            super().connect_check_health(check_health, retry_socket_connect)  # type: ignore[misc]
        except (AuthenticationError, NoPermissionError, NotConnectedError):
            raise
        except RedisError as error:
            raise NotConnectedError(str(error)) from error

    def on_connect_check_health(self, check_health: bool = True) -> None:
        """Logs in, and makes sure that the server is a master."""
        super().on_connect_check_health(check_health)  # type: ignore[misc]
        self.send_command("ROLE", check_health=False)  # type: ignore[attr-defined]
        with suppress(NoPermissionError):  # then a write says so
            _check_role(self.read_response(), f"{self.host}:{self.port}")

    def read_response(self, *args: Any, **words: Any) -> Any:
        """Reads an answer; drops a connection to whoever is not the master."""
        try:
            return super().read_response(*args, **words)  # type: ignore[misc]
        except ELSEWHERE:
            self.disconnect()  # type: ignore[attr-defined]
            raise


class AsyncMasterConnection(_AsyncMaster, AsyncConnection):
    """A connection to the master of a room."""


class AsyncTlsMasterConnection(_AsyncMaster, AsyncTlsConnection):
    """The same by TLS."""


class MasterConnection(_Master, Connection):
    """The same for threads."""


class TlsMasterConnection(_Master, TlsConnection):
    """The same for threads, by TLS."""
