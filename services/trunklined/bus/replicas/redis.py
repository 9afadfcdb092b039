"""RedisExchange: leases as the members of a sorted set, inboxes as channels of sharded pub/sub."""

from __future__ import annotations

import math
from typing import Any, Final

from redis.exceptions import RedisError

from trunkline.errors import StorageUnavailableError
from trunklined.bus.replicas.exchange import Member
from trunklined.redis.errors import translate
from trunklined.redis.link import Link
from trunklined.redis.script import Script
from trunklined.redis.target import Target

ROOM: Final = "live"

_OTHERS: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
    redis.call('ZREM', KEYS[1], id)
    redis.call('HDEL', KEYS[2], id)
end
local function others()
    local found = {}
    local all = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
    for index = 1, #all, 2 do
        if all[index] ~= ARGV[1] then
            local name = redis.call('HGET', KEYS[2], all[index]) or ''
            found[#found + 1] = {all[index], name, string.format('%d', all[index + 1] - now)}
        end
    end
    return found
end
"""
"""KEYS: the leases (by id, when each ends in ms of Redis's clock), the names. ARGV: the own id, and its lease in ms."""

JOIN: Final = Script(
    _OTHERS
    + """
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return {redis.call('INCR', KEYS[3]), others()}
"""
)
"""Besides, KEYS: the number; ARGV: the own name."""

RENEW: Final = Script(
    _OTHERS
    + """
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
    return false
end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return {0, others()}
"""
)

LEAVE: Final = Script("redis.call('ZREM', KEYS[1], ARGV[1]) redis.call('HDEL', KEYS[2], ARGV[1]) return true")


class RedisExchange:
    """See `trunklined.bus.replicas.exchange.Exchange`.

    All keys and channels are in one slot: in a cluster, one node carries them.

    Args:
        target: where Redis is.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._link = Link(target, ROOM, retry_seconds=0)
        self._keys = [self._link.key(name) for name in ("leases", "names", "number")]
        self._id = ""
        self._inbox: Any = None
        """The connection that listens."""

    async def open(self, id: str) -> None:
        self._id = id
        try:
            pool = self._link.client.connection_pool
            self._inbox = await pool.get_connection()
            await self._inbox.send_command("SSUBSCRIBE", self._channel(id))
            await self._inbox.read_response()
        except RedisError as error:
            raise translate(error, self._target) from error

    async def receive(self) -> bytes:
        try:
            kind, _, frame = await self._inbox.read_response(timeout=math.inf)
        except RedisError as error:
            raise translate(error, self._target) from error
        if kind != b"smessage":  # its slot has moved to another node
            raise StorageUnavailableError(f"Redis closed the inbox of this replica ({self._target})")
        return bytes(frame)

    async def join(self, name: str, ttl: float) -> tuple[int, list[Member]]:
        args = (self._id, round(ttl * 1000), name)
        number, found = await self._link.run(lambda client: JOIN.call(client, self._keys, args))
        return int(number), _members(found)

    async def renew(self, ttl: float) -> list[Member] | None:
        args = (self._id, round(ttl * 1000))
        found = await self._link.run(lambda client: RENEW.call(client, self._keys, args))
        return None if found is None else _members(found[1])

    async def send(self, id: str, frame: bytes) -> bool:
        return bool(await self._link.call("SPUBLISH", self._channel(id), frame))

    async def leave(self) -> None:
        await self._link.run(lambda client: LEAVE.call(client, self._keys, (self._id,)))

    async def close(self) -> None:
        if self._inbox is not None:
            await self._inbox.disconnect(nowait=True)
        await self._link.close()

    def _channel(self, id: str) -> str:
        return self._link.key(f"inbox:{id}")


def _members(found: Any) -> list[Member]:
    return [Member(id.decode(), name.decode(), int(left) / 1000) for id, name, left in found]
