"""`trunklined migrate`: the command line.

Exit codes: 0 copied and compared; 1 it failed, or the two sides differ: the target is marked as unfinished; 2 refused,
and nothing was written; 130 interrupted: run it again.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
from msgspec import MsgspecError
from pydantic import ValidationError

from trunkline.cli.output import columns_of, counted
from trunkline.errors import TrunklineError
from trunkline.text import safe_text
from trunklined.migration import bus, state
from trunklined.migration.copying import Comparison, compare, copy
from trunklined.migration.files import source_file, target_file
from trunklined.migration.rooms import Room, source_room, target_room
from trunklined.migration.rows import FileSide, RefusedError, RoomSide, Side
from trunklined.redis.link import SyncLink
from trunklined.redis.settings import RedisSettings
from trunklined.redis.target import SCHEMES, Target
from trunklined.sqlite.format import Format

_INTERRUPTED = 130


class Service(NamedTuple):
    """What is copied of one service."""

    tables: Sequence[str]
    format: Format
    room: Room
    file_side: Callable[[sqlite3.Connection, str], FileSide]
    room_side: Callable[[SyncLink, str], RoomSide]
    check: Callable[[Any], None]
    """Raises StorageError where what is in Redis does not fit together."""


SERVICES = {
    "bus": Service(
        bus.TABLES, bus.JOURNAL_FORMAT, bus.JOURNAL_ROOM, bus.JournalFile, bus.JournalRoom, bus.JournalRoom.check,
    ),
    "state": Service(
        state.TABLES, state.STORE_FORMAT, state.STORE_ROOM, state.StoreFile, state.StoreRoom,
        lambda room: None,
    ),
}  # fmt: skip


class Ends(NamedTuple):
    """Both ends of a copy, held."""

    source: Side
    target: Side
    file: FileSide
    room: RoomSide
    check: Callable[[], None]
    """Raises StorageError where the source is held no more."""
    finish: Callable[[], None]


@click.command("migrate")
@click.argument("service", type=click.Choice(list(SERVICES)))
@click.option("--from", "source", required=True, envvar="TRUNKLINE_MIGRATE_FROM", show_envvar=True, metavar="FILE|URL")
@click.option("--to", "target", required=True, envvar="TRUNKLINE_MIGRATE_TO", show_envvar=True, metavar="FILE|URL")
@click.option("--prefix", default="trunkline", show_default=True, help="What every key in Redis begins with.")
@click.option("--redis-timeout", default="5", show_default=True, help="Seconds to wait for Redis.")
@click.option("--redis-tls-ca", metavar="FILE", help="Certificates that Redis's is signed by, PEM.")
@click.option("--redis-tls-cert", metavar="FILE", help="The certificate for Redis, PEM.")
@click.option("--redis-tls-key", metavar="FILE", help="Its key, PEM.")
@click.option("--redis-sentinel-user", default="", help="The ACL user of the sentinels.")
@click.option("--redis-sentinel-password", default="", envvar="TRUNKLINE_MIGRATE_SENTINEL_PASSWORD", show_envvar=True)
def migrate(service: str, source: str, target: str, prefix: str, **redis: Any) -> None:
    """Copies what SERVICE keeps from its file into Redis, or from Redis into a file.

    The service must not run meanwhile, and the target must be empty. A copy that was stopped is run again: it begins
    anew. At the end both sides are read and compared; only then is the target one that a service starts on. The source
    stays as it is: do not start a service on it again.
    """
    sys.exit(_run(service, source, target, prefix, redis))


def _run(service: str, source: str, target: str, prefix: str, redis: dict[str, Any]) -> int:
    kind = SERVICES[service]
    is_begun = False
    try:
        with _opened(kind, source, target, prefix, redis) as ends:
            is_begun = True
            return _copy(kind.tables, ends)
    except KeyboardInterrupt:
        return _say("interrupted: run it again", _INTERRUPTED)
    except TrunklineError as error:
        return _say(f"{error.message}; the target is unfinished", 1) if is_begun else _say(error.message, 2)
    except MsgspecError as error:
        return _say(f"a row in Redis is damaged: {error}; the target is unfinished", 1)


def _copy(tables: Sequence[str], ends: Ends) -> int:
    click.echo(f"from {safe_text(ends.source.place)}\n  to {safe_text(ends.target.place)}", err=True)
    for table in tables:
        _copy_table(table, ends)
    click.echo("comparing", err=True)
    found = compare(tables, ends.file, ends.room)
    ends.check()
    click.echo("\n".join(_table(found)))
    if wrong := [each.table for each in found if not each.is_same]:
        raise TrunklineError(f"the two sides differ in {', '.join(wrong)}: was the source in use?")
    ends.finish()
    click.echo(f"the same on both sides: {counted(sum(each.file.rows for each in found), 'row')}")
    return 0


def _copy_table(table: str, ends: Ends) -> None:
    total = ends.source.count(table)
    with click.progressbar(length=total, label=f"{table}: {counted(total, 'row')}", file=sys.stderr) as bar:

        def copied(rows: int) -> None:
            ends.check()
            bar.update(rows)

        copy(table, ends.source, ends.target, copied)


def _table(found: Sequence[Comparison]) -> list[str]:
    rows = [
        [each.table, f"{each.file.rows:,}", f"{each.room.rows:,}", each.file.checksum, each.room.checksum]
        for each in found
    ]
    return columns_of(("TABLE", "IN FILE", "IN REDIS", "CHECKSUM OF FILE", "CHECKSUM OF REDIS"), rows)


@contextmanager
def _opened(kind: Service, source: str, target: str, prefix: str, redis: dict[str, Any]) -> Iterator[Ends]:
    """Holds both ends.

    Raises:
        TrunklineError: it is refused; nothing was written.
    """
    if _is_url(source) == _is_url(target):
        raise RefusedError("one of --from and --to is a file, the other one Redis's URL")
    where = _target("--from" if _is_url(source) else "--to", source if _is_url(source) else target, prefix, redis)
    path = Path(target if _is_url(source) else source)
    in_room, in_file = kind.room.place(where), str(path.absolute())
    if _is_url(source):
        with source_room(where, kind.room) as (link, check):
            room = kind.room_side(link, in_room)
            kind.check(room)
            with target_file(path, kind.format, in_room) as (connection, finish):
                file = kind.file_side(connection, in_file)
                yield Ends(room, file, file, room, check, finish)
        return
    with source_file(path, kind.format) as connection:
        file = kind.file_side(connection, in_file)
        with target_room(where, kind.room, str(path.resolve())) as (link, finish):
            room = kind.room_side(link, in_room)
            yield Ends(file, room, file, room, lambda: None, finish)


def _is_url(text: str) -> bool:
    return text.partition("://")[0] in SCHEMES and "://" in text


def _target(option: str, url: str, prefix: str, redis: dict[str, Any]) -> Target:
    given = {name: value for name, value in redis.items() if value is not None}
    try:
        return RedisSettings(redis_url=url, redis_prefix=prefix, **given).redis_target()
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = str(fault["loc"][0]) if fault["loc"] else ""
        named = {"redis_url": option, "redis_prefix": "--prefix", "": ""}.get(field, f"--{field.replace('_', '-')}")
        raise RefusedError(f"{named} {fault['msg'].removeprefix('Value error, ')}".strip()) from error


def _say(reason: str, code: int) -> int:
    click.echo(safe_text(f"trunklined migrate: {reason}"), err=True)
    return code
