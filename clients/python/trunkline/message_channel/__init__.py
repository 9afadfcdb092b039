"""MessageChannel: the connection between an orchestrator and its agents, as threads, processes or external programs.

channel           MessageChannel, the owner's end; endpoint: an agent's end
service_message   the message; peer: the process that sent it over a socket
router            where a message goes; pending_replies: requests that are not answered yet
mailbox           thread mode: mailboxes between threads
waiting           for several mailboxes at once; waitable: what can be waited for
process/          process mode
  pipes, fan_in     framed pipes, and one receiver of many
  agents, endpoint  the owner's side, and the agent's side
unix_socket/      unix_socket mode
  socket_server     the mode in a program; line_sender: lines to its clients from any thread
  line_server       a server of lines, which the sidecar uses too; connection, dialects, framing, socket_file: its parts
bus/              the way to the bus
  mailbox_bridge    from and to the mailboxes
  name_subscriptions, agent_messages   which channels are received, and the form of messages there; for the sidecar too
"""

from trunkline.message_channel.bus.agent_messages import from_agent_message, to_agent_message
from trunkline.message_channel.channel import ChannelType, MessageChannel, wait
from trunkline.message_channel.endpoint import Endpoint
from trunkline.message_channel.errors import (
    ChannelClosedError,
    MessageChannelError,
    SocketInUseError,
    UnknownTargetError,
)
from trunkline.message_channel.limits import (
    CLIENT_RECEIVE_TIMEOUT,
    DEFAULT_SOCKET_PATH,
    SOCKET_LISTEN_BACKLOG,
    SOCKET_TIMEOUT,
)
from trunkline.message_channel.peer import Peer
from trunkline.message_channel.service_message import ServiceMessage

__all__ = [
    "CLIENT_RECEIVE_TIMEOUT",
    "DEFAULT_SOCKET_PATH",
    "SOCKET_LISTEN_BACKLOG",
    "SOCKET_TIMEOUT",
    "ChannelClosedError",
    "ChannelType",
    "Endpoint",
    "MessageChannel",
    "MessageChannelError",
    "Peer",
    "ServiceMessage",
    "SocketInUseError",
    "UnknownTargetError",
    "from_agent_message",
    "to_agent_message",
    "wait",
]
