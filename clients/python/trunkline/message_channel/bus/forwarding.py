"""BusLine: the way between a channel and the bus."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import partial

from trunkline.channels import agent_channel, check_channel
from trunkline.errors import BusNotConnectedError, TrunklineError
from trunkline.message_channel.bus.agent_messages import answer_channel, from_agent_message, to_agent_message
from trunkline.message_channel.limits import LISTEN_SECONDS
from trunkline.message_channel.service_message import ServiceMessage
from trunkline.message_channel.switchboard import Switchboard
from trunkline.models import AgentMessage
from trunkline.sync import MessageBus

_log = logging.getLogger(__name__)


class BusLine:
    """Publishes what has no local target, and receives for the local names.

    While the bus is away, what is published waits in the client's buffer, and names are listened for when it is back.

    Args:
        bus: where a bus is; or one that is connected, which others use too, and which stays so.

    Raises:
        BusDisconnectedError: the bus cannot be reached.
    """

    def __init__(self, bus: str | MessageBus, switchboard: Switchboard) -> None:
        self._switchboard = switchboard
        self._lock = threading.Lock()
        self._names: set[str] = set()
        """Those that are to be listened for."""
        self._asking: set[str] = set()
        """Those of which the bus was told and has not said yes."""
        self._is_own = isinstance(bus, str)
        self._bus = MessageBus(bus) if isinstance(bus, str) else bus
        if self._is_own:
            self._bus.connect()

    def publish(self, target: str, message: ServiceMessage) -> None:
        """Publishes on `conductor:agent:{target}`."""
        self._bus.publish(check_channel(agent_channel(target)), self._outgoing(message, target))

    def listen(self, name: str) -> None:
        """Receives what is published on `conductor:agent:{name}`; in effect on return where the bus is there, else when
        it is back. Of several names, the first waits for it (LISTEN_SECONDS at most), and the others do not again."""
        check_channel(agent_channel(name))
        with self._lock:
            self._names.add(name)
            if name in self._asking:
                return
            patience = 0.0 if self._asking else LISTEN_SECONDS
            self._asking.add(name)
        asked: Future[None] = Future()
        threading.Thread(target=self._ask, args=(name, asked), name="message-channel-listen", daemon=True).start()
        try:
            asked.result(patience)
        except TimeoutError:
            _log.warning("the bus is away: messages for %r are received when it is back", name)
            asked.add_done_callback(partial(_say_why_not, name))

    def unlisten(self, name: str) -> None:
        """Receives nothing more of that channel."""
        with self._lock:
            self._names.discard(name)
            if name in self._asking:
                return  # `_ask` sees to it
        self._leave(name)

    def close(self) -> None:
        """Hands over what was published, then disconnects. Idempotent."""
        try:
            self._bus.flush()
        except BusNotConnectedError:
            return  # it was closed before
        except TrunklineError as error:
            _log.warning("what was published last may be lost: %s", error)
        if self._is_own:
            self._bus.disconnect()
        else:
            for name in list(self._names):
                self.unlisten(name)

    def _ask(self, name: str, asked: Future[None]) -> None:
        try:
            while True:
                self._bus.subscribe(agent_channel(name), partial(self._received, name))
                if self._is_settled(name, wanted=True):
                    break
                self._leave(name)
                if self._is_settled(name, wanted=False):
                    break
        except TrunklineError as error:
            with self._lock:
                self._asking.discard(name)
            asked.set_exception(error)
        else:
            asked.set_result(None)

    def _is_settled(self, name: str, *, wanted: bool) -> bool:
        """Whether what the bus was told is what is wanted by now; then nothing more is asked."""
        with self._lock:
            settled = (name in self._names) is wanted
            if settled:
                self._asking.discard(name)
            return settled

    def _leave(self, name: str) -> None:
        with suppress(BusNotConnectedError):  # the line was closed: it receives nothing any more
            self._bus.unsubscribe(agent_channel(name))

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


def _say_why_not(name: str, asked: Future[None]) -> None:
    error = asked.exception()
    if error is not None:
        _log.warning("messages for %r are not received: %s", name, error)
