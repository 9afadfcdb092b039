"""BusLine: the way between a channel and the bus."""

from __future__ import annotations

import logging
from functools import partial

from trunkline.channels import agent_channel, check_channel
from trunkline.errors import TrunklineError
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
        self._bus.publish(check_channel(agent_channel(target)), to_agent_message(message, target))

    def listen(self, name: str) -> None:
        """Receives what is published on `conductor:agent:{name}`; in effect on return."""
        self._bus.subscribe(check_channel(agent_channel(name)), partial(self._received, name))

    def close(self) -> None:
        """Hands over what was published, then disconnects. Idempotent."""
        if self._bus.is_connected:
            try:
                self._bus.flush()
            except TrunklineError as error:
                _log.warning("what was published last may be lost: %s", error)
        self._bus.disconnect()

    def _received(self, name: str, came: AgentMessage) -> None:
        message = from_agent_message(came)
        if came.correlation_id is not None:
            answer = partial(self._answer, came.sender_id, came.correlation_id)
            by_name = message.type == "COMMAND"
            message.with_token(self._switchboard.answers.add(name, came.sender_id, answer, by_name=by_name))
        outlet = self._switchboard.outlet(name)
        if outlet is None:
            return
        try:
            outlet.put(message)
        except TrunklineError as error:
            _log.warning("a message from %r to %r was not delivered: %s", message.sender, name, error)

    def _answer(self, asker: str, correlation_id: str, message: ServiceMessage) -> None:
        self._bus.publish(answer_channel(asker), to_agent_message(message, asker, correlation_id))
