"""Messages that a real subscriber could not finish, so that there are dead letters to be found."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from trunkline import AgentMessage, GrpcMessageBus
from trunkline.bus.durable import DurableMessage
from trunkline.delivery import DurableSettings

SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Death:
    """How one message dies: with an error of its callback, or because it is said to be hopeless."""

    channel: str
    error: str
    hopeless: bool = False
    message_type: str = "task_assignment"
    sender: str = "coordinator"
    payload: dict[str, Any] = field(default_factory=dict)


def let_die(address: str, durable: str, pattern: str, *deaths: Death) -> list[int]:
    """The ids of the dead letters, in order of the deaths. The durable subscription hands out each message once."""
    return asyncio.run(_let_die(address, durable, pattern, deaths))


def die_again(address: str, durable: str, pattern: str) -> int:
    """The id of the dead letter that the one message becomes that waits, such as one that was redriven."""
    return asyncio.run(_die_again(address, durable, pattern))


async def _die_again(address: str, durable: str, pattern: str) -> int:
    async with GrpcMessageBus(address) as bus, asyncio.timeout(SECONDS):
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def hear(announcement: AgentMessage) -> None:
            told.set_result(_entry(announcement)["dead_letter_id"])

        async def fail(message: DurableMessage) -> None:
            await message.terminate("again")

        await bus.subscribe("conductor:dlq", hear)
        await bus.subscribe(pattern, fail, durable=durable)
        return await told


def _entry(announcement: AgentMessage) -> dict[str, Any]:
    """What is told of a dead letter."""
    entry = announcement.payload["entry"]
    assert isinstance(entry, dict)
    return entry


async def _let_die(address: str, durable: str, pattern: str, deaths: tuple[Death, ...]) -> list[int]:
    async with GrpcMessageBus(address) as bus, asyncio.timeout(SECONDS):
        await bus.create_durable(durable, pattern, settings=DurableSettings(max_deliveries=1))
        told: dict[str, int] = {}
        heard = asyncio.Event()
        dying: dict[str, Death] = {}

        async def hear(announcement: AgentMessage) -> None:
            entry = _entry(announcement)
            told[entry["message_id"]] = entry["dead_letter_id"]
            if dying.keys() <= told.keys():
                heard.set()

        async def fail(message: DurableMessage) -> None:
            death = dying[message.message_id]
            if death.hopeless:
                await message.terminate(death.error)
            else:
                raise RuntimeError(death.error)

        await bus.subscribe("conductor:dlq", hear)
        for death in deaths:
            message = AgentMessage(message_type=death.message_type, sender_id=death.sender, payload=death.payload)
            dying[message.message_id] = death
            await bus.publish(death.channel, message, stored=True)
        await bus.subscribe(pattern, fail, durable=durable)
        await heard.wait()
        return [told[message_id] for message_id in dying]
