"""Roles by what a peer can do: each is handed an open peer, and returns its figures."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping
from typing import Any, TypeVar

from scripts.bench import peers
from scripts.bench.barrier import Barrier, Figures
from scripts.bench.payload import CHANNEL, KEYS
from scripts.bench.peer import (
    Call,
    DurableConsume,
    KeyValue,
    Peer,
    PublishSubscribe,
    RequestReply,
    StoredPublish,
    Streaming,
)

Ability = TypeVar("Ability", PublishSubscribe, RequestReply, Streaming, KeyValue, StoredPublish, DurableConsume)


async def publisher(peer: Peer, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """Publishes `count` messages, at once or in batches of `batch`, each taken by the service before the next."""
    able = _able(peer, PublishSubscribe)
    count: int = order["count"]
    batch: int = order.get("batch", count)
    await barrier()
    began = time.monotonic()
    for start in range(0, count, batch):
        await able.publish(CHANNEL, min(batch, count - start))
    return {"began": began, "ended": time.monotonic(), "sent": order["count"]}


async def subscriber(peer: Peer, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """Receives `count` messages by each of `subscribers` connections."""
    others = [await peers.opened(order) for _ in range(order.get("subscribers", 1) - 1)]
    waits = [await _able(one, PublishSubscribe).subscribe(CHANNEL, order["count"]) for one in (peer, *others)]
    await barrier()
    receptions = await asyncio.gather(*(wait() for wait in waits))
    await asyncio.gather(*(other.close() for other in others))
    return {"received": sum(one.received for one in receptions), "ended": max(one.ended for one in receptions)}


async def responder(peer: Peer, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """Answers requests until its process is ended."""
    await _able(peer, RequestReply).respond(CHANNEL)
    await barrier()
    await asyncio.Event().wait()
    return {}


async def requester(peer: Peer, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """Sends `count` requests, `in_flight` at a time."""
    call = await _able(peer, RequestReply).requester(CHANNEL)
    return await _drive(call, barrier, order)


async def streamer(peer: Peer, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """Answers requests with `parts` parts each, until its process is ended."""
    await _able(peer, Streaming).respond_in_parts(CHANNEL, order["parts"])
    await barrier()
    await asyncio.Event().wait()
    return {}


async def asker(peer: Peer, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """Sends `count` requests, `in_flight` at a time, and reads the `parts` parts of each."""
    call = await _able(peer, Streaming).asker(CHANNEL, order["parts"])
    return await _drive(call, barrier, order)


async def saver(peer: Peer, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """Saves `count` records, `in_flight` at a time."""
    return await _drive(_able(peer, KeyValue).saver(), barrier, order)


async def getter(peer: Peer, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """Saves some records, then reads `count`, `in_flight` at a time."""
    able = _able(peer, KeyValue)
    save = able.saver()
    for index in range(KEYS):
        await save(index)
    return await _drive(able.getter(), barrier, order)


async def storer(peer: Peer, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """Publishes `count` messages to be stored, `in_flight` at a time, each waiting for its receipt."""
    return await _drive(await _able(peer, StoredPublish).storer(CHANNEL), barrier, order)


async def consumer(peer: Peer, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """Takes `count` messages that wait for a durable subscription, and acks each."""
    able = _able(peer, DurableConsume)
    await able.keep(CHANNEL)
    await barrier()
    began = time.monotonic()
    reception = await able.consume(CHANNEL, order["count"])
    return {"began": began, "ended": reception.ended, "received": reception.received}


async def _drive(call: Call, barrier: Barrier, order: Mapping[str, Any]) -> Figures:
    """Runs a call so many times, with so many at once, behind `warm_up` that are not timed (unset: a tenth)."""
    count, in_flight = order["count"], order["in_flight"]
    await _spread(call, order.get("warm_up", count // 10), in_flight)
    await barrier()
    began = time.monotonic()
    latencies = await _spread(call, count, in_flight)
    return {"seconds": time.monotonic() - began, "done": len(latencies), "median": statistics.median(latencies)}


async def _spread(call: Call, count: int, in_flight: int) -> list[float]:
    numbers = iter(range(count))
    latencies: list[float] = []

    async def work() -> None:
        clock = time.perf_counter
        for number in numbers:
            began = clock()
            await call(number)
            latencies.append(clock() - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())
    return latencies


def _able(peer: Peer, ability: type[Ability]) -> Ability:
    if not isinstance(peer, ability):
        raise TypeError(f"{peer.title} has no {ability.__name__}")
    return peer
