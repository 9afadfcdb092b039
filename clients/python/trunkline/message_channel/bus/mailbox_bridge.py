"""MailboxBridge: the way between a channel's mailboxes and the bus."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from trunkline.channels import agent_channel, check_channel
from trunkline.errors import BusNotConnectedError, TrunklineError
from trunkline.message_channel.bus.agent_messages import addressed, from_agent_message
from trunkline.message_channel.bus.name_subscriptions import NameSubscriptions
from trunkline.message_channel.limits import LISTEN_SECONDS
from trunkline.message_channel.router import Router
from trunkline.message_channel.service_message import ServiceMessage
from trunkline.models import AgentMessage
from trunkline.sync import Background, MessageBus

_log = logging.getLogger(__name__)


class MailboxBridge:
    """Publishes what has no local target, and receives for the local names.

    While the bus is away, what is published waits in the client's buffer, and names are subscribed when it is back.

    Args:
        bus: where a bus is; or one that is connected, which others use too, and which stays so.

    Raises:
        BusDisconnectedError: the bus cannot be reached.
    """

    def __init__(self, bus: str | MessageBus, router: Router) -> None:
        self._router = router
        self._is_own = isinstance(bus, str)
        self._bus = MessageBus(bus) if isinstance(bus, str) else bus
        if self._is_own:
            self._bus.connect()
        self._background = Background()
        self._background.open()
        self._subscriptions = NameSubscriptions(self._bus.asynchronous, self._received)
        self._threads: dict[str, ThreadPoolExecutor] = {}
        """One for each subscribed name: a mailbox without room makes its sender wait."""

    def publish(self, target: str, message: ServiceMessage) -> None:
        """Publishes on `conductor:agent:{target}`."""
        self._bus.publish(*addressed(self._from_here(message), target))

    def listen(self, name: str) -> None:
        """Receives what is published on `conductor:agent:{name}`; in effect on return where the bus is there, else when
        it is back. Of several names, the first waits for it (LISTEN_SECONDS at most), and the others do not again."""
        check_channel(agent_channel(name))
        patience = 0.0 if self._subscriptions.has_tasks else LISTEN_SECONDS
        listening = self._background.submit(self._listen(name))
        try:
            listening.result(patience)
        except TimeoutError:
            _log.warning("the bus is away: messages for %r are received when it is back", name)
            listening.add_done_callback(partial(_warn_of_failure, name))

    def unlisten(self, name: str) -> None:
        """Receives nothing more of that channel."""
        if self._background.loop is not None:  # else it was closed, and receives nothing any more
            self._background.submit(self._unlisten(name))

    def close(self) -> None:
        """Hands over what was published, then disconnects. Idempotent."""
        try:
            self._bus.flush()
        except BusNotConnectedError:
            pass  # disconnected before
        except TrunklineError as error:
            _log.warning("what was published last may be lost: %s", error)
        if self._is_own:
            self._bus.disconnect()
            for thread in list(self._threads.values()):
                thread.shutdown(wait=False, cancel_futures=True)
        else:
            for name in list(self._threads):
                self.unlisten(name)
        self._background.close()

    # In the event loop.

    async def _listen(self, name: str) -> None:
        self._threads.setdefault(name, ThreadPoolExecutor(1, f"message-channel {name}"))
        task = self._subscriptions.listen(name)
        if task is not None:
            await asyncio.shield(task)

    async def _unlisten(self, name: str) -> None:
        task = self._subscriptions.unlisten(name)
        if task is not None:
            await asyncio.wait({task})
        if name not in self._subscriptions and (thread := self._threads.pop(name, None)) is not None:
            thread.shutdown(wait=False, cancel_futures=True)

    async def _received(self, name: str, message: AgentMessage) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads[name], self._put, name, message)

    # In the thread of a name.

    def _put(self, name: str, came: AgentMessage) -> None:
        mailbox = self._router.mailbox(name)
        if mailbox is None:
            return
        message = from_agent_message(came)
        if came.correlation_id is not None:
            receiver = self._router.owner if name == self._router.alias else name
            reply = partial(self._reply, came.sender_id, came.correlation_id)
            by_name = message.type == "COMMAND"
            message.with_token(self._router.expect_reply(receiver, came.sender_id, reply, by_name=by_name))
        try:
            mailbox.put(message)
        except TrunklineError as error:
            _log.warning("a message from %r to %r was not delivered: %s", message.sender, name, error)

    def _reply(self, requester: str, correlation_id: str, message: ServiceMessage) -> None:
        self._bus.publish(*addressed(self._from_here(message), requester, correlation_id))

    def _from_here(self, message: ServiceMessage) -> ServiceMessage:
        """The message as the bus gets it: there the owner is known, and answered, by its name on the bus."""
        is_owner = message.sender == self._router.owner
        return replace(message, sender=self._router.alias) if is_owner else message


def _warn_of_failure(name: str, listening: Future[None]) -> None:
    error = listening.exception()
    if error is not None:
        _log.warning("messages for %r are not received: %s", name, error)
