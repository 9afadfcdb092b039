"""MessageChannel: what an orchestrator and its agents speak through, as threads, processes or external programs.

channel           MessageChannel, the owner's end; endpoint: an agent's end
service_message   what is carried
router       where a message goes; answers: who asked, and gets the answer
mailbox           thread mode: mailboxes between threads
waiting bell      for several mailboxes at once
pipes fan_in      process mode: framed pipes, and one receiver of many
process_agents    its owner's side; process_endpoint: the agent's side
socket_hub        unix_socket mode in a program; on
line_server       a server of lines on a UNIX socket, which the sidecar uses too, with
connection framing dialects peer socket_file   its parts
forwarding        the way to the bus; agent_messages: the form that messages have there
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
