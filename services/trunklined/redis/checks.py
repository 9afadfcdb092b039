"""What is looked at before an engine uses Redis: nothing is written unless all of it is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import redis.asyncio
import structlog
from redis.exceptions import NoPermissionError

from trunkline.errors import OverloadedError, StorageError
from trunklined.redis.link import Link
from trunklined.redis.target import Target

log = structlog.get_logger()

OLDEST: Final = (7, 0)
"""The oldest Redis that is supported."""

FORMAT_KEY: Final = "format"
"""The key of a room that says what is in it."""

_UNFINISHED: Final = "unfinished copy of "

_MODES: Final[dict[str, str]] = {
    "standalone": "redis://",
    "cluster": "redis+cluster://",
    "sentinel": "redis+sentinel://",
}


async def check_redis(link: Link, kind: str, version: int, types: Mapping[str, str], oldest: int | None = None) -> None:
    """Checks that a Redis can be trusted with a room's keys, and claims them.

    Args:
        link: the way to it.
        kind: what keeps its data there, such as "state".
        version: of the format in which it does.
        types: by key, without the room's tag, the type that it must have if it is there, as TYPE says it.
        oldest: the oldest version that is read, too; what is of it counts as of `version` from now on, so that no
            program starts on it that knows only the older one. None: no other.

    Raises:
        StorageError: it cannot; nothing was written. Details: setting, which the line names.
    """
    try:
        await check_server(link)
        await _check_keys(link, kind, version, types, version if oldest is None else oldest)
    except OverloadedError as error:
        raise _refusal("redis_url", error.message) from error
    except StorageError as error:
        error.details.setdefault("setting", "redis_url")
        raise


async def check_server(link: Link) -> None:
    """Checks that a server is one that data can be trusted to, whatever keys it has.

    Raises:
        StorageError: it is none.
    """
    await link.run(lambda client: _check_server(client, link.target))


def unfinished_mark(source: str) -> str:
    """Returns what the key FORMAT_KEY says while a room is being filled with a copy."""
    return f"{_UNFINISHED}{source}"


def format_mark(kind: str, version: int) -> str:
    """Returns what the key FORMAT_KEY says."""
    return f"trunkline {kind} {version}"


def _refusal(setting: str, text: str) -> StorageError:
    return StorageError(text, details={"setting": setting})


async def _check_server(client: redis.asyncio.Redis, target: Target) -> None:
    await client.execute_command("EVAL", "return 1", 0)
    try:
        info = _info(await client.execute_command("INFO", "everything"))
    except NoPermissionError:
        log.warning(
            "Redis's ACL does not permit INFO: its version, its topology and its eviction policy are not known",
            redis=str(target),
        )
        return
    version = info.get("redis_version", "0")
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise _refusal("redis_url", f"Redis at {target} is {version}, which is too old: {oldest} or newer is needed")
    mode = info.get("redis_mode", "standalone")
    if mode == "sentinel":
        raise _refusal("redis_url", f"what answers at {target} is a sentinel: its URL begins with redis+sentinel://")
    if (mode == "cluster") != (target.topology == "cluster"):
        raise _refusal("redis_url", f"Redis at {target} is a {mode}: its URL begins with {_MODES[mode]}")
    if info.get("role", "master") != "master":
        raise _refusal("redis_url", f"Redis at {target} is a read-only replica: name its master, or its sentinels")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise _refusal(
            "redis_url",
            f"Redis at {target} drops keys when its memory is full (maxmemory-policy {policy}): set it to noeviction",
        )


def _info(answer: Any) -> dict[str, str]:
    """Reads INFO, parsed by redis-py or as it came."""
    if isinstance(answer, dict):
        return {str(name): str(value) for name, value in answer.items()}
    lines = (answer.decode() if isinstance(answer, bytes) else str(answer)).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


async def _check_keys(link: Link, kind: str, version: int, types: Mapping[str, str], oldest: int) -> None:
    mark, ours = link.key(FORMAT_KEY), format_mark(kind, version)
    names = {link.key(name): type for name, type in {**types, FORMAT_KEY: "string"}.items()}

    async def look(client: redis.asyncio.Redis) -> list[str]:
        async with client.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.execute_command("TYPE", name)
            return [_text(each) for each in await pipeline.execute()]

    found = await link.run(look)
    for (name, wanted), there in zip(names.items(), found, strict=True):
        if there not in ("none", wanted):
            raise _refusal(
                "redis_prefix",
                f"the key {name!r} in Redis is a {there}, not a {wanted}: another program uses this prefix",
            )
    kept = await link.call("GET", mark)
    if kept is None:
        if any(there != "none" for there in found):
            raise _refusal(
                "redis_prefix",
                f"there are keys like {next(iter(names))!r}, but {mark!r} is gone: choose another prefix",
            )
        # Whoever else comes now writes the same.
        await link.call("SET", mark, ours, "NX")
        kept = await link.call("GET", mark)
    said = _text(kept)
    if said in (format_mark(kind, older) for older in range(oldest, version)):
        log.info("what is in Redis is brought to a newer format", redis=str(link.target), found=said, format=version)
        await link.call("SET", mark, ours)
    elif said != ours:
        if said.startswith(_UNFINISHED):
            raise _refusal(
                "redis_prefix",
                f"below {link.target.tag(link.room)} is an {said[:300]}: run `trunkline migrate` again, to its end",
            )
        words = said.split(" ")
        if len(words) == 3 and words[:2] == ["trunkline", kind] and words[2].isdigit() and int(words[2]) > version:
            raise StorageError(
                f"the data in Redis below {link.target.tag(link.room)} is of format {words[2]}, and this version knows"
                f" {version} only: a newer version wrote it",
                details={"setting": "redis_prefix", "found": int(words[2]), "supported": version},
            )
        raise _refusal(
            "redis_prefix", f"the key {mark!r} in Redis says {said[:64]!r}: another program uses this prefix"
        )


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
