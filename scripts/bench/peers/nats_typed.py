"""nats-py with the work that an AgentMessage is: the same fields made fresh for each message, and read into a type."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

from nats.aio.msg import Msg

from scripts.bench.payload import TEXT
from scripts.bench.peer import Call, Reception
from scripts.bench.peers import fields, structs
from scripts.bench.peers.nats import REQUEST_SECONDS, Nats
from scripts.bench.tally import Tally


class NatsTyped(Nats):
    """The same client and server as `Nats`; what is sent is made, written and read as the subclass says."""

    @staticmethod
    @abstractmethod
    def write() -> bytes:
        """Makes a message and writes it."""

    @staticmethod
    @abstractmethod
    def read(data: bytes) -> Any:
        """Reads a message."""

    @staticmethod
    @abstractmethod
    def answer(data: bytes) -> bytes:
        """Reads a request; makes its reply and writes it."""

    async def subscribe(self, channel: str, count: int) -> Callable[[], Awaitable[Reception]]:
        tally, read = Tally(count), self.read

        async def on_message(message: Msg) -> None:
            tally.count(read(message.data).payload["data"])

        await self.client.subscribe(channel, cb=on_message)
        await self.client.flush()
        return tally.reception

    async def publish(self, channel: str, count: int) -> None:
        client, write = self.client, self.write
        for _ in range(count):
            await client.publish(channel, write())
        await client.flush()

    async def respond(self, channel: str) -> None:
        answer = self.answer

        async def on_request(message: Msg) -> None:
            await message.respond(answer(message.data))

        await self.client.subscribe(channel, cb=on_request)
        await self.client.flush()

    async def requester(self, channel: str) -> Call:
        client, write, read = self.client, self.write, self.read

        async def request(_: int) -> None:
            reply = await client.request(channel, write(), timeout=REQUEST_SECONDS)
            if read(reply.data).payload["data"] != TEXT:
                raise AssertionError("a reply with another payload came back")

        return request


class NatsMsgspec(NatsTyped):
    """With msgspec, the fastest that Python has for this."""

    title = "nats-py, same fields by msgspec"
    messages = 200_000
    libraries = (*Nats.libraries, "msgspec")

    @staticmethod
    def write() -> bytes:
        return structs.encode(structs.new_struct())

    @staticmethod
    def read(data: bytes) -> structs.Struct:
        return structs.decode(data)

    @staticmethod
    def answer(data: bytes) -> bytes:
        return structs.encode(structs.reply_to(structs.decode(data)))


class NatsPydantic(NatsTyped):
    """With pydantic, which most agents' programs use."""

    title = "nats-py, same fields by pydantic"
    messages = 150_000
    libraries = (*Nats.libraries, "pydantic")

    @staticmethod
    def write() -> bytes:
        return fields.new_model().model_dump_json().encode()

    @staticmethod
    def read(data: bytes) -> fields.Model:
        return fields.Model.model_validate_json(data)

    @staticmethod
    def answer(data: bytes) -> bytes:
        return fields.reply_to(fields.Model.model_validate_json(data)).model_dump_json().encode()
