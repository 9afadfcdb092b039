"""One agent's end of a channel within the owner's process."""

from __future__ import annotations

from typing import NoReturn, Protocol

from trunkline.message_channel.mailbox import Mailbox
from trunkline.message_channel.router import Router
from trunkline.message_channel.service_message import ServiceMessage


class Endpoint(Protocol):
    """One agent's end of a channel, as `MessageChannel.endpoint` gives it."""

    name: str

    def send(self, target: str, msg: ServiceMessage) -> None:
        """As `MessageChannel.send`, from this agent."""

    def receive(self, timeout: float | None = None) -> ServiceMessage | None:
        """Takes the next message that was sent to this agent; None after `timeout` seconds. None waits for ever."""

    def reply(self, request: ServiceMessage, msg: ServiceMessage) -> None:
        """As `MessageChannel.reply`, from this agent."""

    def close(self) -> None:
        """Ends this agent's mailbox; idempotent."""


class LocalEndpoint:
    """One agent's end of a channel, for a thread of the owner's process."""

    def __init__(self, name: str, mailbox: Mailbox, router: Router) -> None:
        self.name = name
        self._mailbox = mailbox
        self._router = router

    def send(self, target: str, msg: ServiceMessage) -> None:
        """As `MessageChannel.send`, from this agent."""
        if not isinstance(msg, ServiceMessage):
            raise TypeError(f"want a ServiceMessage, not {type(msg).__name__}")
        self._router.send(self.name, target, msg)

    def receive(self, timeout: float | None = None) -> ServiceMessage | None:
        """Takes the next message that was sent to this agent; None after `timeout` seconds. None waits for ever."""
        message = self._mailbox.get(timeout)
        if message is not None:
            self._router.received(message)
        return message

    def reply(self, request: ServiceMessage, msg: ServiceMessage) -> None:
        """As `MessageChannel.reply`, from this agent."""
        self._router.reply(self.name, request, msg)

    def close(self) -> None:
        """Ends this agent's mailbox; idempotent."""
        self._mailbox.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"the endpoint {self.name!r} is for a thread; one that was made in process mode can be handed over"
        )
