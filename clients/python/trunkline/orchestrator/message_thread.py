"""MessageThread: receives the messages of agents, and commands."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from trunkline.message_channel import ChannelClosedError, MessageChannel, ServiceMessage, wait
from trunkline.orchestrator.limits import COMMANDS_AT_A_TIME, MESSAGES_AT_A_TIME, STUCK_SECONDS

_log = logging.getLogger(__name__)


class MessageThread:
    """Receives from the channels of an orchestrator. One daemon thread serves all of them, and sleeps until one of them
    has a message. An exception of one message is logged, and the next one is handled."""

    _channels: Sequence[MessageChannel]
    """Channels to receive from; the first one is the agents' channel."""
    _message_thread: threading.Thread | None = None
    _message_thread_running = False

    def __init__(self) -> None:
        self._when_handled: deque[Callable[[], object]] = deque()
        """Actions for the moment when every message that had arrived at their request was handled."""
        self._busy_since: float | None = None

    def handle_command(self, msg: ServiceMessage, channel: MessageChannel) -> None:
        """Handles a COMMAND that a channel has received."""
        raise NotImplementedError

    def _handle_status(self, msg: ServiceMessage) -> None:
        """Handles a STATUS."""
        raise NotImplementedError

    def when_handled(self, action: Callable[[], object]) -> None:
        """Calls an action in the message thread, when every message that agents have sent by now was handled. Where an
        agent sends without a pause, that may be never."""
        self._when_handled.append(action)
        with suppress(ChannelClosedError):
            self._wake()

    def is_stuck(self) -> bool:
        """Tells whether the present message has been handled for more than STUCK_SECONDS."""
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
        """Ends the thread, and waits for that unless it is the caller; idempotent."""
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
            waiting = len(self._when_handled) if is_agents else 0
            message = channel.receive(0)
            if message is None:
                for _ in range(waiting):
                    self._when_handled.popleft()()
                return
            self._busy_since = time.monotonic()
            try:
                if message.type == "COMMAND":
                    self.handle_command(message, channel)
                elif message.sender != channel.name:
                    self._handle_status(message)
            except Exception:  # noqa: BLE001  # one message's failure must not end the others' service
                _log.exception("a message of %r was not handled", message.sender)
            finally:
                self._busy_since = None
