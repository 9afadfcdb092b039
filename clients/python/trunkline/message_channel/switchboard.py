"""Switchboard: which mailbox, connection or bus channel a message goes to."""

from __future__ import annotations

from typing import Protocol

from trunkline.message_channel.answers import Answers
from trunkline.message_channel.errors import UnknownTargetError
from trunkline.message_channel.mailbox import Outlet
from trunkline.message_channel.service_message import ServiceMessage


class Clients(Protocol):
    """The clients of a socket, by the names that they speak under."""

    def send(self, target: str, message: ServiceMessage) -> bool:
        """Sends to the connections of that name; False where there is none."""

    def broadcast(self, message: ServiceMessage) -> None:
        """Sends to every connection."""


class Line(Protocol):
    """The way to the bus."""

    def publish(self, target: str, message: ServiceMessage) -> None:
        """Publishes on the target's channel."""

    def listen(self, name: str) -> None:
        """From now on, what is published on that name's channel is received."""

    def unlisten(self, name: str) -> None:
        """Undoes `listen`."""

    def close(self) -> None:
        """Idempotent."""


class Switchboard:
    """Routes messages, in this order: to the asker of an unanswered command; to the owner or an endpoint; to a
    connected client; to the bus; else to nobody, or without clients to the owner itself.

    Args:
        owner: the owner's name.
        inbox: the owner's own mailbox.
        alias: the owner's name on the bus, which leads to it here too.
    """

    def __init__(self, owner: str, inbox: Outlet, alias: str) -> None:
        self.owner = owner
        self.alias = alias
        self.answers = Answers()
        self.clients: Clients | None = None
        self.line: Line | None = None
        self._inbox = inbox
        self._outlets: dict[str, Outlet] = {owner: inbox, alias: inbox}

    def add(self, name: str, outlet: Outlet) -> None:
        """Connects a local name, or connects it anew."""
        self._outlets[name] = outlet

    def remove(self, name: str, outlet: Outlet) -> None:
        """Disconnects a local name, unless it is connected to another outlet by now."""
        if self._outlets.get(name) is outlet:
            del self._outlets[name]

    def outlet(self, name: str) -> Outlet | None:
        """Where a local name receives; None for one that is not local."""
        return self._outlets.get(name)

    def send(self, receiver: str, target: str, message: ServiceMessage) -> None:
        """Routes what `receiver` (the owner or an endpoint) sends to a target."""
        if self.answers and (deliver := self.answers.take_oldest(receiver, target)):
            deliver(message)
        elif (outlet := self._outlets.get(target)) is not None:  # an empty mailbox counts as false
            outlet.put(message)
        elif self.clients is not None and self.clients.send(target, message):
            return
        elif self.line is not None:
            self.line.publish(target, message)
        elif self.clients is not None:
            raise _nobody(target)
        else:
            # One object used from both sides, as the seed's was: what it sends, it receives.
            self._inbox.put(message)

    def reply(self, receiver: str, request: ServiceMessage, message: ServiceMessage) -> None:
        """Brings a message to whoever sent `request`."""
        self.answer(receiver, request.answer_token, request.sender, message)

    def answer(self, receiver: str, token: int | None, target: str, message: ServiceMessage) -> None:
        """Brings a message to the asker that the token remembers; without a token, as `send`."""
        if token is None:
            self.send(receiver, target, message)
        elif not self.answers.deliver(token, message):
            raise _nobody(target)

    def broadcast(self, message: ServiceMessage) -> None:
        """Sends to every endpoint and every connected client."""
        for outlet in [each for each in list(self._outlets.values()) if each is not self._inbox]:
            outlet.put(message)
        if self.clients is not None:
            self.clients.broadcast(message)

    def close(self) -> None:
        """Closes every mailbox; idempotent."""
        for outlet in list(self._outlets.values()):
            outlet.close()


def _nobody(target: str) -> UnknownTargetError:
    return UnknownTargetError(f"nobody named {target!r} is connected", details={"target": target})
