"""LineSender: sends lines from any thread to the clients of a socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from trunkline.message_channel.errors import ChannelClosedError
from trunkline.message_channel.unix_socket.connection import LineConnection

Replied = Callable[[LineConnection, int], None]
"""Is called, in the loop, with each token whose line was handed to its connection."""


class LineSender:
    """Hands lines to connections, whose event loop runs in a thread of its own.

    To wake a loop costs a system call and a turn of it. So only the first line does, and what gathers until the loop
    comes to it goes along, in one write for each client: a busy owner pays for hundreds of lines once, and a lone line
    goes at once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, replied: Replied) -> None:
        self._loop = loop
        self._replied = replied
        self._lines: deque[tuple[LineConnection, bytes, int | None]] = deque()
        self._called = False

    def send(self, connection: LineConnection, line: bytes, token: int | None = None) -> None:
        """Sends one line, in the order of the calls. A client that has disconnected gets nothing. Any thread may call.

        Raises:
            ChannelClosedError: the loop has ended.
        """
        self._lines.append((connection, line, token))
        if not self._called:
            self._called = True
            self.call(self._hand_over)

    def call(self, action: Callable[[], object]) -> None:
        """Calls something in the loop. Raises as `send`."""
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:  # the loop is closed
            raise ChannelClosedError("the channel is closed") from None

    def _hand_over(self) -> None:
        self._called = False  # before the first is taken: a thread that adds one after the last calls anew
        together: dict[LineConnection, list[bytes]] = {}
        tokens: list[tuple[LineConnection, int]] = []
        for _ in range(len(self._lines)):
            connection, line, token = self._lines.popleft()
            together.setdefault(connection, []).append(line)
            if token is not None:
                tokens.append((connection, token))
        for connection, lines in together.items():
            connection.send(b"".join(lines))
        for connection, token in tokens:
            self._replied(connection, token)
