"""Every bound of the MessageChannel, with what happens at it. Sizes are bytes, times are seconds."""

from __future__ import annotations

from typing import Final

from trunkline.limits import MAX_MESSAGE_BYTES, MAX_QUEUED_MESSAGES, MiB

DEFAULT_SOCKET_PATH: Final = "/tmp/pyorchestrate.sock"

SOCKET_LISTEN_BACKLOG: Final = 5
"""Connections that the kernel keeps, at the least, while they wait to be accepted. The socket asks for MAX_CONNECTIONS:
a client that connects with a timeout is turned away (EAGAIN) by a full backlog, instead of waiting."""

SOCKET_TIMEOUT: Final = 1.0
"""How long the probe of a socket file that is already there waits for an answer; no answer counts as live."""

CLIENT_RECEIVE_TIMEOUT: Final = 0.1
"""What `receive(None)` waits in unix_socket mode."""

MAX_LINE_BYTES: Final = MAX_MESSAGE_BYTES
"""One line of a client. A longer one is dropped as it comes; at its end an error with both sizes is sent."""

OVERLONG_PAUSE: Final = 1.0
"""After which the error for a longer line is sent, where the line does not go on and has not ended."""

MAX_MAILBOX_MESSAGES: Final = MAX_QUEUED_MESSAGES
"""Messages that wait in one mailbox of this process; a sender beyond it waits up to SEND_WAIT."""

SEND_WAIT: Final = 5.0
"""How long `send` waits for room before it raises OverloadedError."""

LISTEN_SECONDS: Final = 2.0
"""How long making an endpoint waits for its subscription on the bus; beyond it the subscription is in effect when the
bus is back."""

MAX_OUTBOX_BYTES: Final = 8 * MiB
"""What waits in a process for a pipe that is full; a sender beyond it waits up to SEND_WAIT."""

PIPE_BYTES: Final = MiB
"""The size that a pipe is set to; the kernel may grant less."""

PIPE_READ_BYTES: Final = 256 * 1024
"""What one read of a pipe takes."""

FLUSH_SECONDS: Final = 5.0
"""How long `close()`, and the end of a process, wait for what was sent and not yet taken by a pipe or client."""

MAX_INBOX_MESSAGES: Final = 4_096
"""Messages of socket clients that wait for `receive`; beyond it their connections are not read."""

MAX_CONNECTIONS: Final = 128
"""Clients of one socket; for one more, the oldest that has sent nothing gets an error and is closed, or else the new
one."""

SILENT_CLIENT_SECONDS: Final = 30.0
"""Within which a client must have sent a whole line, so that it does not hold a place for nothing; else it gets an
error and is closed. A client that has sent one may then be silent for any time."""

MAX_CLIENT_OUTBOX_BYTES: Final = 8 * MiB
"""What waits for one client that does not read; beyond it the client is cut off."""

NO_NEWLINE_PAUSE: Final = 0.002
"""A complete JSON object without a newline counts as a line when nothing followed it for this long. (An object's
beginning is never itself an object, so nothing is cut by being early.)"""

HALF_CLOSED_SECONDS: Final = 60.0
"""How long a client that half-closed may wait for replies; then it is closed."""

HALF_CLOSED_CHECK: Final = 1.0
"""The interval of checks whether a half-closed client is still there."""

MAX_UNANSWERED: Final = 16_384
"""Requests that were received and are remembered until they are answered; beyond it the oldest is forgotten. Those that
wait to be received are bounded by their mailboxes, and none of them is forgotten."""

DISCONNECTED_REQUESTER_SECONDS: Final = 30.0
"""How long a request is remembered whose requester has disconnected, so that its reply does not reach another client of
the same name."""

SOCKET_LOCK_SECONDS: Final = 2.0
"""How long two programs that open sockets in one directory wait for each other."""
