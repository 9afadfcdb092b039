"""pyzmq without a broker, one message a call: the floor under any Python program that sends and receives messages."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import zmq

from scripts.bench.payload import PAYLOAD
from scripts.bench.peer import Peer, Reception, Service
from scripts.bench.tally import FIRST_SECONDS, IDLE_SECONDS


class ZeroMQ(Peer):
    """Blocking sockets and no event loop, which is its fastest; a full queue makes the publisher wait, not lose."""

    title = "pyzmq, no broker"
    messages = 1_000_000
    libraries = ("pyzmq",)

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._endpoint = ""

    def server(self, service: Service, port: int, scratch: Path) -> None:
        return None

    async def open(self, service: Service, port: int) -> None:
        self._endpoint = f"tcp://127.0.0.1:{port}"

    async def close(self) -> None:
        self._context.destroy(linger=int(IDLE_SECONDS * 1000))

    async def subscribe(self, channel: str, count: int) -> Callable[[], Awaitable[Reception]]:
        socket = self._context.socket(zmq.SUB)
        socket.subscribe(b"")
        socket.bind(self._endpoint)

        async def reception() -> Reception:
            socket.rcvtimeo = int(FIRST_SECONDS * 1000)
            receive = socket.recv
            received = octets = 0
            try:
                octets += len(receive())
                socket.rcvtimeo = int(IDLE_SECONDS * 1000)
                received = 1
                while received < count:
                    octets += len(receive())
                    received += 1
            except zmq.Again:
                return Reception(received, time.monotonic() - socket.rcvtimeo / 1000)
            return Reception(received, time.monotonic())

        return reception

    async def publish(self, channel: str, count: int) -> None:
        socket = self._context.socket(zmq.XPUB)
        socket.xpub_nodrop = True
        socket.connect(self._endpoint)
        socket.recv()  # the subscription has reached this side: nothing is sent into the void
        send = socket.send
        for _ in range(count):
            send(PAYLOAD)
