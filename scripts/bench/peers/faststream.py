"""FastStream over nats-py: a framework that gives handlers a typed message, as we do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from faststream.nats import NatsBroker

from scripts.bench.payload import TEXT
from scripts.bench.peer import Call, Reception, Service
from scripts.bench.peers.fields import Model, new_model, reply_to
from scripts.bench.peers.nats import REQUEST_SECONDS, Nats
from scripts.bench.tally import Tally


class FastStream(Nats):
    """The same server as `Nats`. By default FastStream logs each message; here it does not, which is in its favour."""

    title = "FastStream on NATS, pydantic"
    messages = 20_000
    requests = 10_000
    libraries = ("faststream", "nats-py", "pydantic")

    async def open(self, service: Service, port: int) -> None:
        self._broker = NatsBroker(f"nats://127.0.0.1:{port}", logger=None)
        self._client = await self._broker.connect()

    async def close(self) -> None:
        await self._broker.stop()

    async def subscribe(self, channel: str, count: int) -> Callable[[], Awaitable[Reception]]:
        tally = Tally(count)

        async def on_message(message: Model) -> None:
            tally.count(message.payload["data"])

        await self._serve(channel, on_message)
        return tally.reception

    async def publish(self, channel: str, count: int) -> None:
        publish = self._broker.publish
        for _ in range(count):
            await publish(new_model(), channel)
        await self.client.flush()

    async def respond(self, channel: str) -> None:
        async def on_request(message: Model) -> Model:
            return reply_to(message)

        await self._serve(channel, on_request)

    async def requester(self, channel: str) -> Call:
        ask = self._broker.request

        async def request(_: int) -> None:
            reply = await ask(new_model(), channel, timeout=REQUEST_SECONDS)
            if Model.model_validate_json(reply.body).payload["data"] != TEXT:
                raise AssertionError("a reply with another payload came back")

        return request

    async def _serve(self, channel: str, handler: Callable[[Model], Awaitable[Any]]) -> None:
        self._broker.subscriber(channel)(handler)
        await self._broker.start()
        await self.client.flush()
