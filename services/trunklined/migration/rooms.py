"""Redis's side: the target, which is no store until it is whole, and the lease that keeps others from a source."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import Final

from trunkline.errors import StorageError
from trunklined.migration.rows import RefusedError
from trunklined.redis.checks import FORMAT_KEY, check_redis, check_server, format_mark, unfinished_mark
from trunklined.redis.lease import NamedLease
from trunklined.redis.link import Link, SyncLink
from trunklined.redis.target import Target

LEASE_SECONDS: Final = 10.0
"""How long a copy that was killed keeps others from its source."""
NOTE: Final = "trunkline migrate"
"""What the lease says of who holds it."""


@dataclass(frozen=True, slots=True)
class Room:
    """What one service keeps in Redis.

    Args:
        name: of the room, and of what is kept there.
        noun: what that is called, for people.
        version: of its format.
        types: see `check_redis`.
        lease: what a replica holds that serves it.
    """

    name: str
    noun: str
    version: int
    types: Mapping[str, str]
    lease: str
    oldest: int | None = None

    def place(self, target: Target) -> str:
        """Returns where it is, for people."""
        return f"{target} below {target.tag(self.name)}"


@contextmanager
def source_room(target: Target, room: Room) -> Iterator[tuple[SyncLink, Callable[[], None]]]:
    """Holds the lease of what is in Redis, and yields the way to it, and what raises `StorageError` once the lease is
    lost.

    Raises:
        RefusedError: there is nothing, or a replica serves it.
        StorageError: Redis cannot be trusted.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="migrate-lease", daemon=True)
    thread.start()
    link = SyncLink(target, room.name, max_connections=2)
    try:
        if link.call("GET", link.key(FORMAT_KEY)) is None:
            raise RefusedError(f"there is no {room.noun} in Redis: {room.place(target)}")
        lease, away = asyncio.run_coroutine_threadsafe(_hold(target, room), loop).result()

        def check() -> None:
            if not lease.is_held:
                raise StorageError(f"the lease of {room.place(target)} was lost: run it again")

        try:
            yield link, check
        finally:
            asyncio.run_coroutine_threadsafe(_let_go(lease, away), loop).result()
    finally:
        link.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _hold(target: Target, room: Room) -> tuple[NamedLease, Link]:
    link = Link(target, room.name, max_connections=2)
    lease = NamedLease(link, room.lease, token_hex(8), ttl=LEASE_SECONDS, note=NOTE)
    try:
        await check_redis(link, room.name, room.version, room.types, room.oldest)
        while not await lease.acquire():
            other = lease.holder
            if other is not None and other.note != NOTE:
                raise RefusedError(
                    f"{room.place(target)} is in use by {other.note or 'a replica'}: stop all replicas; one that was "
                    f"killed holds it for {other.seconds:.0f} s more"
                )
            await asyncio.sleep(0.2)  # a copy that was killed holds it until its time has passed
    except BaseException:
        await link.close()
        raise
    lease.start()
    return lease, link


async def _let_go(lease: NamedLease, link: Link) -> None:
    await lease.close()
    await link.close()


@contextmanager
def target_room(target: Target, room: Room, source: str) -> Iterator[tuple[SyncLink, Callable[[], None]]]:
    """Claims a place in Redis with a mark that no service starts on, and removes what an unfinished copy of the same
    source left there; yields the way to it, and what makes it a store.

    Raises:
        RefusedError: there is something else.
        StorageError: Redis cannot be trusted.
    """
    asyncio.run(_check(target, room))
    link = SyncLink(target, room.name, max_connections=2)
    mark, ours = link.key(FORMAT_KEY), unfinished_mark(source)
    keys = [link.key(name) for name in room.types]
    try:
        if link.call("GET", mark) is None and link.call("EXISTS", *keys):
            raise RefusedError(f"there are keys of another program: {room.place(target)}")
        link.call("SET", mark, ours, "NX")  # a service that starts now sees it
        said = link.call("GET", mark)
        if said != ours.encode():
            text = said.decode(errors="replace")[:200]
            raise RefusedError(f"there is something already, which says {text!r}: {room.place(target)}")
        link.call("UNLINK", *keys)

        def finish() -> None:
            link.call("SET", mark, format_mark(room.name, room.version))

        yield link, finish
    finally:
        link.close()


async def _check(target: Target, room: Room) -> None:
    link = Link(target, room.name, max_connections=1)
    try:
        await check_server(link)
    finally:
        await link.close()
