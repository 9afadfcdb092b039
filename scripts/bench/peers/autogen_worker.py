"""AutoGen's side of a role: a worker runtime and its agent. Loaded in AutoGen's environment alone."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

from autogen_core import AgentId, MessageContext, RoutedAgent, TopicId, TypeSubscription, message_handler
from autogen_core import try_get_known_serializers_for_type as serializers_of
from autogen_ext.runtimes.grpc import GrpcWorkerAgentRuntime
from pydantic import BaseModel

from scripts.bench.payload import TEXT
from scripts.bench.peer import Reception
from scripts.bench.peers.fields import Model, new_model, reply_to
from scripts.bench.tally import Tally

AGENT: Final = AgentId("agent", "default")


class Flush(BaseModel):
    """Asks for an answer, before which the host has taken everything that was published."""


class Flushed(BaseModel):
    """That answer."""


class Receiver(RoutedAgent):  # type: ignore[misc]
    """Counts what is published."""

    def __init__(self, tally: Tally) -> None:
        super().__init__("receiver")
        self._tally = tally

    @message_handler  # type: ignore[untyped-decorator]
    async def count(self, message: Model, context: MessageContext) -> None:
        """Counts it."""
        self._tally.count(message.payload["data"])


class Flusher(RoutedAgent):  # type: ignore[misc]
    """Answers its own worker, by way of the host."""

    @message_handler  # type: ignore[untyped-decorator]
    async def flush(self, message: Flush, context: MessageContext) -> Flushed:
        """Answers."""
        return Flushed()


class Responder(RoutedAgent):  # type: ignore[misc]
    """Answers requests."""

    @message_handler  # type: ignore[untyped-decorator]
    async def answer(self, message: Model, context: MessageContext) -> Model:
        """Answers one."""
        return reply_to(message)


class Worker:
    """One connection to the host."""

    def __init__(self, port: int) -> None:
        self._runtime = GrpcWorkerAgentRuntime(f"127.0.0.1:{port}")
        self._flusher = AgentId(f"flusher-{os.getpid()}", "default")

    async def start(self) -> None:
        """Connects."""
        for kind in (Model, Flush, Flushed):
            self._runtime.add_message_serializer(serializers_of(kind))
        await self._runtime.start()
        await self._runtime.register_factory(self._flusher.type, lambda: Flusher("flusher"))

    async def stop(self) -> None:
        """Disconnects."""
        await self._runtime.stop()

    async def subscribe(self, channel: str, count: int) -> Callable[[], Awaitable[Reception]]:
        """As `PublishSubscribe` says. A topic's source is the key of the agent that gets it."""
        tally = Tally(count)
        await self._register(lambda: Receiver(tally))
        await self._runtime.add_subscription(TypeSubscription(channel, AGENT.type))
        return tally.reception

    async def publish(self, channel: str, count: int) -> None:
        """As `PublishSubscribe` says. AutoGen puts what is published into a queue without an end and tells nothing of
        it, so a request goes behind: by the host and back to this worker, as a receiver that has everything may leave
        before it answers."""
        publish, topic = self._runtime.publish_message, TopicId(channel, AGENT.key)
        for _ in range(count):
            await publish(new_model(), topic)
        await self._runtime.send_message(Flush(), self._flusher)

    async def respond(self) -> None:
        """As `RequestReply` says."""
        await self._register(lambda: Responder("responder"))

    async def request(self, _: int) -> None:
        """One request and its reply."""
        reply = await self._runtime.send_message(new_model(), AGENT)
        if reply.payload["data"] != TEXT:
            raise AssertionError("a reply with another payload came back")

    async def _register(self, make: Callable[[], Any]) -> None:
        await self._runtime.register_factory(AGENT.type, make)
