"""The channel of the command socket."""

from __future__ import annotations

from trunkline.message_channel import MessageChannel
from trunkline.orchestrator.commands.audit import AuditLog
from trunkline.orchestrator.config import OrchestratorConfig


def open_command_channel(config: OrchestratorConfig, name: str, audit: AuditLog) -> MessageChannel | None:
    """Opens the command socket; returns None where the configuration has none.

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
