"""BusLine: the way between a channel and the bus."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from functools import partial

from trunkline.channels import agent_channel, check_channel
from trunkline.errors import BusNotConnectedError, TrunklineError
from trunkline.message_channel.agent_messages import answer_channel, from_agent_message, to_agent_message
from trunkline.message_channel.service_message import ServiceMessage
from trunkline.message_channel.switchboard import Switchboard
from trunkline.models import AgentMessage
from trunkline.sync import MessageBus

_log = logging.getLogger(__name__)


class BusLine:
    """Publishes what has no local target, and receives for the local names.

    Raises:
        BusDisconnectedError: the bus cannot be reached.
    """

    def __init__(self, address: str, switchboard: Switchboard) -> None:
        self._switchboard = switchboard
        self._bus = MessageBus(address)
        self._bus.connect()

    def publish(self, target: str, message: ServiceMessage) -> None:
        """Publishes on `conductor:agent:{target}`."""
        self._bus.publish(check_channel(agent_channel(target)), self._outgoing(message, target))

    def listen(self, name: str) -> None:
        """Receives what is published on `conductor:agent:{name}`; in effect on return."""
        self._bus.subscribe(check_channel(agent_channel(name)), partial(self._received, name))

    def unlisten(self, name: str) -> None:
        """Receives nothing more of that channel."""
        with suppress(BusNotConnectedError):  # the line was closed: it receives nothing any more
            self._bus.unsubscribe(agent_channel(name))

    def close(self) -> None:
        """Hands over what was published, then disconnects. Idempotent."""
        if self._bus.is_connected:
            try:
                self._bus.flush()
            except TrunklineError as error:
                _log.warning("what was published last may be lost: %s", error)
        self._bus.disconnect()

    def _received(self, name: str, came: AgentMessage) -> None:
        outlet = self._switchboard.outlet(name)
        if outlet is None:
            return
        message = from_agent_message(came)
        if came.correlation_id is not None:
            receiver = self._switchboard.owner if name == self._switchboard.alias else name
            answer = partial(self._answer, came.sender_id, came.correlation_id)
            by_name = message.type == "COMMAND"
            message.with_token(self._switchboard.answers.add(receiver, came.sender_id, answer, by_name=by_name))
        try:
            outlet.put(message)
        except TrunklineError as error:
            _log.warning("a message from %r to %r was not delivered: %s", message.sender, name, error)

    def _answer(self, asker: str, correlation_id: str, message: ServiceMessage) -> None:
        self._bus.publish(answer_channel(asker), self._outgoing(message, asker, correlation_id))

    def _outgoing(self, message: ServiceMessage, target: str, correlation_id: str | None = None) -> AgentMessage:
        if message.sender == self._switchboard.owner:  # there it is known, and answered, by its name on the bus
            message = replace(message, sender=self._switchboard.alias)
        return to_agent_message(message, target, correlation_id)
