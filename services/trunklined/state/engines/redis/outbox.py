"""RedisOutbox: the messages of writes that the bus does not have yet, handed on by one replica at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog

from trunkline.errors import OverloadedError, StorageError, StorageUnavailableError, TrunklineError
from trunklined.redis.lease import NamedLease
from trunklined.redis.link import Link
from trunklined.redis.script import Script
from trunklined.relay.journal import (
    WINDOW_BYTES,
    WINDOW_MESSAGES,
    Arrival,
    Contents,
    Held,
    Refusal,
    Stock,
    first_batches,
)
from trunklined.state.engines.redis.layout import Keys

log = structlog.get_logger()

LEASE_SECONDS: Final = 10.0
"""How long a replica that died keeps others from handing on."""
REFRESH_SECONDS: Final = 1.0
"""How often the figures of the outbox, which all replicas fill, are read."""

_HOLDS: Final = "if redis.call('HGET', KEYS[1], 'number') ~= ARGV[1] then return false end\n"

_NEXT: Final = Script(
    _HOLDS
    + """
-- KEYS: lease store outbox sent; ARGV: number, messages, bytes, then ids that the bus has
local gone, bytes = 0, 0
for i = 4, #ARGV do
  local entry = redis.call('XRANGE', KEYS[3], ARGV[i], ARGV[i])[1]
  if entry then
    gone, bytes = gone + 1, bytes + tonumber(entry[2][4])
    redis.call('XDEL', KEYS[3], ARGV[i])
    redis.call('HDEL', KEYS[4], ARGV[i])
  end
end
if gone > 0 then
  redis.call('HINCRBY', KEYS[2], 'outbox', -gone)
  redis.call('HINCRBY', KEYS[2], 'outbox_bytes', -bytes)
end
local window, room, start = {}, tonumber(ARGV[3]), '-'
while #window < tonumber(ARGV[2]) and room >= 0 do
  local entries = redis.call('XRANGE', KEYS[3], start, '+', 'COUNT', math.min(64, tonumber(ARGV[2]) - #window))
  if #entries == 0 then break end
  for _, entry in ipairs(entries) do
    window[#window + 1] = {entry[1], entry[2][2], redis.call('HGET', KEYS[4], entry[1])}
    start, room = '(' .. entry[1], room - #entry[2][2]
    if room < 0 then break end
  end
end
return window
"""
)
_MARK: Final = Script(_HOLDS + "for i = 3, #ARGV do redis.call('HSET', KEYS[2], ARGV[i], ARGV[2]) end return 1")
_UNMARK: Final = Script(_HOLDS + "for i = 2, #ARGV do redis.call('HDEL', KEYS[2], ARGV[i]) end return 1")
_REFUSE: Final = Script(
    _HOLDS
    + """
-- KEYS: lease store outbox sent refused; ARGV: number, id, refusal, bytes
if redis.call('XDEL', KEYS[3], ARGV[2]) == 0 then return 1 end
redis.call('HDEL', KEYS[4], ARGV[2])
redis.call('XADD', KEYS[5], '*', 'm', ARGV[3])
redis.call('HINCRBY', KEYS[2], 'outbox', -1)
redis.call('HINCRBY', KEYS[2], 'outbox_bytes', -ARGV[4])
redis.call('HINCRBY', KEYS[2], 'refused', 1)
redis.call('HINCRBY', KEYS[2], 'refused_bytes', ARGV[4])
return 1
"""
)

_encode = msgspec.msgpack.Encoder().encode
_decode_arrival = msgspec.msgpack.Decoder(Arrival).decode
_decode_refusal = msgspec.msgpack.Decoder(tuple[Refusal, bytes]).decode


class RedisOutbox:
    """A `Journal` in Redis. Its steps are done by the replica that holds a lease, and refused to one that lost it.

    Args:
        stock: counts what is held, of all replicas.
        link: the way to Redis.
        keys: of the store.
        holder: this replica.
    """

    def __init__(self, stock: Stock, link: Link, keys: Keys, holder: str) -> None:
        self.stock = stock
        self._link = link
        self._keys = keys
        self._held = asyncio.Event()
        self._lease = NamedLease(
            link,
            "outbox",
            holder,
            ttl=LEASE_SECONDS,
            on_held=lambda number: self._held.set(),
            on_lost=self._held.clear,
        )
        self._is_trying = False
        self._reader: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Reads what is held, and again from time to time."""
        self.stock.open(await self._contents())
        self._reader = asyncio.create_task(self._refresh_forever(), name="state-outbox-figures")

    async def close(self) -> None:
        """Lets another replica hand on; idempotent."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait((reader,))
            await self._lease.close()

    @property
    def is_ours(self) -> bool:
        """Whether this replica hands on."""
        return self._lease.is_held

    async def turn(self) -> None:
        """Waits until this replica is the one that hands on."""
        if not self._is_trying:
            self._is_trying = True
            self._lease.start()
        while not self._lease.is_held:
            self._held.clear()  # its time may be over before anybody says that it is lost
            await self._held.wait()

    async def next(self, done: Sequence[Held], limit: int, now: float) -> list[list[Held]]:
        """See `Journal`."""
        keys = self._keys
        ids = [f"{each.id}-0" for each in done]
        found = await self._step(
            _NEXT,
            (self._lease.key, keys.store, keys.outbox, keys.sent),
            (min(limit, WINDOW_MESSAGES), WINDOW_BYTES, *ids),
        )
        self.stock.drop(done)
        window, oldest_at = [], None
        for id, text, sent_at in found:
            arrival = _decode_arrival(text)
            oldest_at = arrival.taken_at if oldest_at is None else oldest_at
            sent = None if sent_at is None else float(sent_at)
            window.append(Held(int(id.partition(b"-")[0]), arrival.channel, arrival.key, sent, arrival.message))
        self.stock.oldest_at = oldest_at
        batches = first_batches(window)
        fresh = [f"{each.id}-0" for batch in batches for each in batch if each.sent_at is None]
        if fresh:
            await self._step(_MARK, (self._lease.key, keys.sent), (repr(now), *fresh))
        return batches

    async def unsend(self, batch: Sequence[Held]) -> None:
        """See `Journal`."""
        await self._step(_UNMARK, (self._lease.key, self._keys.sent), [f"{each.id}-0" for each in batch])

    async def refuse(self, held: Held, message_id: str, error: TrunklineError, now: float) -> None:
        """See `Journal`."""
        keys = self._keys
        refusal = Refusal(held.channel, message_id, now, error.error_code, error.message)
        await self._step(
            _REFUSE,
            (self._lease.key, keys.store, keys.outbox, keys.sent, keys.refused),
            (f"{held.id}-0", _encode((refusal, held.message)), len(held.message)),
        )
        self.stock.set_aside(held)

    async def refusals(self, limit: int) -> list[Refusal]:
        """Returns the messages that were refused last, the last one first."""
        found = await self._link.call("XREVRANGE", self._keys.refused, "+", "-", "COUNT", limit)
        return [_decode_refusal(fields[b"m"])[0] for _, fields in found]

    async def _step(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        number = self._lease.number
        if number:
            # Each step may be done twice.
            answer = await self._link.run(lambda client: script.call(client, keys, (number, *args)), idempotent=True)
            if answer is not None:
                return answer
            self._lease.lost()
        raise StorageUnavailableError("another replica hands the outbox on now")

    async def _contents(self) -> Contents:
        names = ("outbox", "outbox_bytes", "refused", "refused_bytes")
        figures = await self._link.call("HMGET", self._keys.store, *names)
        oldest = await self._link.call("XRANGE", self._keys.outbox, "-", "+", "COUNT", 1)
        oldest_at = _decode_arrival(oldest[0][1][b"m"]).taken_at if oldest else None
        held, held_bytes, refused, refused_bytes = (int(each or 0) for each in figures)
        return Contents(held, held_bytes, refused, refused_bytes, oldest_at)

    async def _refresh_forever(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                self.stock.refresh(await self._contents())
            except (StorageError, OverloadedError) as error:
                log.debug("the figures of the outbox could not be read", reason=error.message)
