"""Router: which mailbox, connection or bus channel a message goes to."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Protocol

from trunkline.errors import MessageTooLargeError
from trunkline.message_channel.errors import UnknownTargetError
from trunkline.message_channel.limits import MAX_UNANSWERED
from trunkline.message_channel.mailbox import MailboxSender
from trunkline.message_channel.pending_replies import PendingReplies
from trunkline.message_channel.service_message import ServiceMessage

Reply = Callable[[ServiceMessage], None]
"""Sends the reply to one request."""


class Clients(Protocol):
    """The clients of a socket, by the names that they speak under."""

    def send(self, target: str, message: ServiceMessage) -> bool:
        """Sends to the connections of that name; False where there is none."""

    def broadcast(self, message: ServiceMessage) -> None:
        """Sends to every connection."""

    def close(self) -> None:
        """Closes every connection and the socket; idempotent."""


class BusBridge(Protocol):
    """The way to the bus, and from there to the local names."""

    def publish(self, target: str, message: ServiceMessage) -> None:
        """Publishes on the target's channel."""

    def listen(self, name: str) -> None:
        """Receives what is published on that name's channel from now on."""

    def unlisten(self, name: str) -> None:
        """Undoes `listen`."""

    def close(self) -> None:
        """Ends the bridge; idempotent."""


class Router:
    """Routes messages, in this order: to the requester of an unanswered request; to the owner or an endpoint; to a
    connected client; to the bus; else nowhere, or without clients to the owner itself.

    Args:
        owner: the owner's name.
        inbox: the owner's own mailbox.
        alias: the owner's name on the bus, which leads to it here too.
    """

    def __init__(self, owner: str, inbox: MailboxSender, alias: str) -> None:
        self.owner = owner
        self.alias = alias
        self.clients: Clients | None = None
        self.bus: BusBridge | None = None
        self._inbox = inbox
        self._mailboxes: dict[str, MailboxSender] = {owner: inbox, alias: inbox}
        self._pending: PendingReplies[int, Reply] = PendingReplies(MAX_UNANSWERED)
        self._tokens = itertools.count(1)

    def add(self, name: str, mailbox: MailboxSender) -> None:
        """Connects a local name, or connects it anew."""
        self._mailboxes[name] = mailbox

    def remove(self, name: str, mailbox: MailboxSender) -> None:
        """Disconnects a local name, unless it is connected to another mailbox by now."""
        if self._mailboxes.get(name) is mailbox:
            del self._mailboxes[name]

    def mailbox(self, name: str) -> MailboxSender | None:
        """Returns the mailbox of a local name; None for a name that is not local."""
        return self._mailboxes.get(name)

    # Requests.

    def expect_reply(self, receiver: str, sender: str, reply: Reply, *, by_name: bool = True) -> int:
        """Remembers a request until it is answered, and returns its token. Without `by_name`, only the token finds
        it."""
        token = next(self._tokens)
        self._pending.add(token, reply, (receiver, sender) if by_name else None)
        return token

    def received(self, message: ServiceMessage) -> None:
        """Notes that the calling thread received a message, which may be a request."""
        if message.answer_token is not None:
            self._pending.received(message.answer_token)

    def disconnected(self, token: int) -> None:
        """Notes that the requester is gone."""
        self._pending.disconnected(token)

    # Messages.

    def send(self, receiver: str, target: str, message: ServiceMessage) -> None:
        """Routes what `receiver` (the owner or an endpoint) sends to a target."""
        if self._pending and (reply := self._pending.take_oldest((receiver, target))):
            reply(message)
        elif (mailbox := self._mailboxes.get(target)) is not None:  # an empty mailbox counts as false
            mailbox.put(message)
        elif self.clients is not None and self.clients.send(target, message):
            return
        elif self.bus is not None:
            self.bus.publish(target, message)
        elif self.clients is not None:
            raise _unknown(target)
        else:
            # One object used from both sides, as the seed's was: what it sends, it receives.
            self._inbox.put(message)

    def reply(self, receiver: str, request: ServiceMessage, message: ServiceMessage) -> None:
        """Sends a message to the requester of `request`."""
        self.answer(receiver, request.answer_token, request.sender, message)

    def answer(self, receiver: str, token: int | None, target: str, message: ServiceMessage) -> None:
        """Sends a message to the requester that the token finds; without a token, as `send`.

        Raises:
            UnknownTargetError: the request was answered or forgotten.
            MessageTooLargeError: the request still counts as unanswered, so that a shorter reply can follow.
        """
        if token is None:
            self.send(receiver, target, message)
            return
        reply = self._pending.take(token)
        if reply is None:
            raise _unknown(target)
        try:
            reply(message)
        except MessageTooLargeError:
            self._pending.add(token, reply)
            self._pending.received(token)
            raise

    def broadcast(self, message: ServiceMessage) -> None:
        """Sends to every endpoint and every connected client."""
        for mailbox in [each for each in list(self._mailboxes.values()) if each is not self._inbox]:
            mailbox.put(message)
        if self.clients is not None:
            self.clients.broadcast(message)

    def close(self) -> None:
        """Closes every mailbox and the socket; idempotent."""
        for mailbox in list(self._mailboxes.values()):
            mailbox.close()
        if self.clients is not None:
            self.clients.close()


def _unknown(target: str) -> UnknownTargetError:
    return UnknownTargetError(f"nobody named {target!r} is connected", details={"target": target})
