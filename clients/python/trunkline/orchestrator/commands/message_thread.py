"""MessageThread: receives what agents say and what is commanded."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from trunkline.message_channel import ChannelClosedError, MessageChannel, ServiceMessage, wait
from trunkline.orchestrator.commands.audit import AuditLog
from trunkline.orchestrator.config import OrchestratorConfig
from trunkline.orchestrator.limits import COMMANDS_AT_A_TIME, MESSAGES_AT_A_TIME, STUCK_SECONDS

_log = logging.getLogger(__name__)


class MessageThread:
    """What an orchestrator is to its channels: one daemon thread serves all of them, and sleeps until one of them has
    something. One message's failure ends nothing."""

    _channels: Sequence[MessageChannel]
    """What it receives from; the first one's owner name is its own."""
    _message_thread: threading.Thread | None = None
    _message_thread_running = False

    def __init__(self) -> None:
        self._asked: deque[Callable[[], object]] = deque()
        """What is done when everything was heard that had been said when it was asked for."""
        self._busy_since: float | None = None

    def handle_command(self, msg: ServiceMessage, channel: MessageChannel) -> None:
        """Does what a COMMAND commands that came by a channel."""
        raise NotImplementedError

    def _heard(self, msg: ServiceMessage) -> None:
        """Acts on a STATUS."""
        raise NotImplementedError

    def when_heard(self, action: Callable[[], object]) -> None:
        """Calls an action in the message thread, when everything was heard that agents have said by now. Where some
        agent never stops talking, that may be never."""
        self._asked.append(action)
        with suppress(ChannelClosedError):
            self._wake()

    def is_stuck(self) -> bool:
        """Whether one message takes long to handle just now: more than STUCK_SECONDS."""
        since = self._busy_since
        return since is not None and time.monotonic() - since > STUCK_SECONDS

    def _start_message_thread(self) -> None:
        if self._message_thread is None:
            self._message_thread_running = True
            self._message_thread = threading.Thread(
                target=self._message_thread_function, daemon=True, name="OrchestratorMessageThread"
            )
            self._message_thread.start()

    def _stop_message_thread(self) -> None:
        """Waits for its end, unless this is it; idempotent."""
        self._message_thread_running = False
        thread = self._message_thread
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            self._wake()
            thread.join()

    def _wake(self) -> None:
        own = self._channels[0]
        own.send(own.name, ServiceMessage(own.name, "STATUS", "wake up"))

    def _message_thread_function(self) -> None:
        while self._message_thread_running:
            for channel in wait(self._channels):
                try:
                    self._serve(channel)
                except ChannelClosedError:
                    return

    def _serve(self, channel: MessageChannel) -> None:
        is_agents = channel is self._channels[0]
        for _ in range(MESSAGES_AT_A_TIME if is_agents else COMMANDS_AT_A_TIME):
            asked = len(self._asked) if is_agents else 0
            message = channel.receive(0)
            if message is None:
                for _ in range(asked):
                    self._asked.popleft()()
                return
            self._busy_since = time.monotonic()
            try:
                if message.type == "COMMAND":
                    self.handle_command(message, channel)
                elif message.sender != channel.name:
                    self._heard(message)
            except Exception:  # noqa: BLE001  # one message's failure must not end the others' service
                _log.exception("a message of %r was not handled", message.sender)
            finally:
                self._busy_since = None


def open_command_channel(config: OrchestratorConfig, name: str, audit: AuditLog) -> MessageChannel | None:
    """The channel that commands come by; None where the configuration wants none.

    Raises:
        SocketInUseError: another program has the socket.
    """
    if not config.enable_command_interface:
        return None
    return MessageChannel(
        "unix_socket",
        config.command_socket_path,
        name=name,
        allowed_uids=config.allowed_uids,
        on_denied=audit.denied,
    )
