"""Peer: one technology that is measured, and the abilities that works ask for."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

Service = Literal["bus", "state", "channel"]
"""What a work needs of us: one of our programs, or the MessageChannel, which is none."""

Call = Callable[[int], Awaitable[object]]
"""One operation; its argument is its number, from 0."""

Receive = Callable[[], object]
"""Takes one message; waits until there is one."""


@dataclass(frozen=True, slots=True)
class Server:
    """A program to run beside the roles; it is ready when its port on the loopback accepts.

    Args:
        port: where it listens; 0: at the port of the stage.
    """

    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0


class Reception(NamedTuple):
    """What a subscriber got, and when the last of it came (`time.monotonic()`, the same clock in all processes)."""

    received: int
    ended: float


class Peer(ABC):
    """One technology. The coordinator asks it for its server; each role's process, which runs in the
    folder of the run, opens one of its own."""

    title: ClassVar[str]
    """For people."""
    messages: ClassVar[int]
    """Messages of one run of publish/subscribe: what it does in two to four seconds."""
    requests: ClassVar[int] = 50_000
    """Requests of one run, many in flight."""
    stored: ClassVar[int] = 100_000
    """Messages that are stored in one run, many in flight."""
    saves: ClassVar[int] = 40_000
    """Records that are saved in one run, many in flight."""
    libraries: ClassVar[Sequence[str]] = ()
    """What it is made of, as installed here."""

    def versions(self) -> Sequence[str]:
        """Names and versions of what it is made of."""
        return [f"{library} {version(library)}" for library in self.libraries]

    def python(self) -> str:
        """The Python that its roles run in."""
        return sys.executable

    @abstractmethod
    def server(self, service: Service, port: int, scratch: Path) -> Server | None:
        """The program that this service of it needs, or None. Files belong into `scratch`."""

    def beneath(self, service: Service, scratch: Path) -> Sequence[Server]:
        """The programs that this server needs, in the order in which they start. They count to what messages cost."""
        return ()

    @abstractmethod
    async def open(self, service: Service, port: int) -> None:
        """Connects."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnects."""


@runtime_checkable
class PublishSubscribe(Protocol):
    """Live messages, with a loop of its own on either side: nothing of ours stands between it and its messages."""

    async def subscribe(self, channel: str, count: int) -> Callable[[], Awaitable[Reception]]:
        """Subscribes; what it returns waits until `count` messages came, or none for some seconds."""

    async def publish(self, channel: str, count: int) -> None:
        """Publishes so many messages, as fast as it can, and returns when they are off."""


@runtime_checkable
class RequestReply(Protocol):
    """Requests of 256 bytes, answered with 256 bytes."""

    async def respond(self, channel: str) -> None:
        """Answers all requests from now on."""

    async def requester(self, channel: str) -> Call:
        """Makes ready to ask; one request and its reply."""


@runtime_checkable
class Streaming(Protocol):
    """Requests whose answers come in parts of 256 bytes, in order, with an end."""

    async def respond_in_parts(self, channel: str, parts: int) -> None:
        """Answers all requests from now on, each with so many parts."""

    async def asker(self, channel: str, parts: int) -> Call:
        """Makes ready to ask; one request and all its parts."""


@runtime_checkable
class KeyValue(Protocol):
    """Records by id, kept on disk."""

    def saver(self) -> Call:
        """Saves one record."""

    def getter(self) -> Call:
        """Reads one record, and its payload."""


@runtime_checkable
class StoredPublish(Protocol):
    """Messages that are answered when they are kept."""

    async def storer(self, channel: str) -> Call:
        """Makes what keeps this channel; publishes one message, and waits for the receipt."""


@runtime_checkable
class DurableConsume(Protocol):
    """Messages that wait on disk until they are acked."""

    async def keep(self, channel: str) -> None:
        """Makes the durable subscription that all messages of this channel wait for, also those that are there."""

    async def consume(self, channel: str, count: int) -> Reception:
        """Takes so many of them by one subscriber and acks each; returns when the acks are off."""


@runtime_checkable
class ThreadMessages(Protocol):
    """Messages between two threads."""

    def from_thread(self, count: int) -> AbstractContextManager[Receive]:
        """A thread begins to send so many; all of them must be received within the block."""


@runtime_checkable
class ProcessMessages(Protocol):
    """Messages from one process to another on the same machine."""

    def from_process(self, count: int) -> AbstractContextManager[Receive]:
        """A spawned process begins to send so many; all of them must be received within the block."""
