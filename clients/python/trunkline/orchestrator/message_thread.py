"""MessageThread: receives what agents say and what is commanded."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from trunkline.message_channel import ChannelClosedError, MessageChannel, ServiceMessage, wait
from trunkline.orchestrator.audit import AuditLog
from trunkline.orchestrator.config import OrchestratorConfig
from trunkline.orchestrator.limits import MESSAGES_AT_A_TIME

_log = logging.getLogger(__name__)


class MessageThread:
    """One daemon thread for all channels; sleeps until one of them has something. One message's failure ends nothing.

    Args:
        channels: what it receives from; the first one's owner name is its own.
        commanded: called with a COMMAND and the channel that it came by.
        said: called with a STATUS.
    """

    def __init__(
        self,
        channels: Sequence[MessageChannel],
        commanded: Callable[[ServiceMessage, MessageChannel], object],
        said: Callable[[ServiceMessage], object],
    ) -> None:
        self._channels = channels
        self._commanded = commanded
        self._said = said
        self._is_ending = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Idempotent."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="OrchestratorMessageThread")
            self._thread.start()

    def stop(self) -> None:
        """Ends it, and waits for that, unless it is this thread; idempotent."""
        self._is_ending = True
        if self._thread is not None and self._thread.is_alive() and self._thread is not threading.current_thread():
            own = self._channels[0]
            own.send(own.name, ServiceMessage(own.name, "STATUS", "wake up"))
            self._thread.join()

    def _run(self) -> None:
        while not self._is_ending:
            for channel in wait(self._channels):
                try:
                    self._serve(channel)
                except ChannelClosedError:
                    return

    def _serve(self, channel: MessageChannel) -> None:
        for _ in range(MESSAGES_AT_A_TIME):
            message = channel.receive(0)
            if message is None:
                return
            try:
                if message.type == "COMMAND":
                    self._commanded(message, channel)
                elif message.sender != channel.name:
                    self._said(message)
            except Exception:  # noqa: BLE001  # one message's failure must not end the others' service
                _log.exception("a message of %r was not handled", message.sender)


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
