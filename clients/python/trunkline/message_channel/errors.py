"""The errors of a MessageChannel, beside `OverloadedError` and `MessageTooLargeError`.

TrunklineError
└── MessageChannelError     MESSAGE_CHANNEL_ERROR
    ├── ChannelClosedError  CHANNEL_CLOSED
    ├── SocketInUseError    SOCKET_IN_USE
    └── UnknownTargetError  UNKNOWN_TARGET
"""

from __future__ import annotations

from trunkline.errors import TrunklineError


class MessageChannelError(TrunklineError):
    """The base of all errors of a MessageChannel."""

    error_code = "MESSAGE_CHANNEL_ERROR"


class ChannelClosedError(MessageChannelError):
    """The channel was closed, or the process at the other end of it is gone."""

    error_code = "CHANNEL_CLOSED"


class SocketInUseError(MessageChannelError):
    """The socket's path belongs to another: a live program, or a file that is no socket. Details: path."""

    error_code = "SOCKET_IN_USE"


class UnknownTargetError(MessageChannelError):
    """No mailbox or client of that name is connected. Details: target."""

    error_code = "UNKNOWN_TARGET"
