"""MessageChannel: one interface to agents in threads, in spawned processes, and in programs on a UNIX socket."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from multiprocessing import context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from trunkline.addresses import check_target
from trunkline.message_channel.endpoint import Endpoint, LocalEndpoint
from trunkline.message_channel.errors import ChannelClosedError, MessageChannelError
from trunkline.message_channel.limits import CLIENT_RECEIVE_TIMEOUT, DEFAULT_SOCKET_PATH
from trunkline.message_channel.mailbox import Mailbox, ThreadMailbox
from trunkline.message_channel.peer import Peer
from trunkline.message_channel.process.agents import ProcessAgents
from trunkline.message_channel.process.fan_in import FanIn
from trunkline.message_channel.router import Router
from trunkline.message_channel.service_message import ServiceMessage
from trunkline.message_channel.waitable import Waitable
from trunkline.message_channel.waiting import wait_for_any

if TYPE_CHECKING:
    from trunkline.sync import MessageBus

ChannelType = Literal["thread", "process", "unix_socket"]


class MessageChannel:
    """Carries ServiceMessages between an owner (the orchestrator) and its agents.

    This object is the owner's end. `endpoint(name)` is an agent's end: each has a mailbox of its own, and `receive`
    gives what was sent to that name only. A message goes, in this order, to

    1. the requester, where `target` is the sender of a command from a socket or the bus that this end has received
       and not answered: of several, the oldest that the calling thread received, else the oldest. `reply` chooses one.
    2. the owner or the endpoint of that name;
    3. the connected clients that speak under that name (unix_socket);
    4. the bus channel `conductor:agent:{target}`, where `address` names a bus; what is published on the channels of
       the owner and of the endpoints reaches their `receive`;
    5. else: in unix_socket mode nowhere (`UnknownTargetError`), otherwise the owner's own mailbox, so that one object
       can be used from both sides.

    The three types:

    - thread: endpoints are for threads of this process.
    - process: endpoints are handed to processes that are started with `spawn`, as arguments. A channel that is handed
      over itself becomes an endpoint there, known by the sender of the first message that it sends. Never fork.
    - unix_socket: a server of newline-delimited JSON on `socket_path` (mode 0600), for programs in any language, which
      answers each in the dialect that it spoke; endpoints are for threads, and get the lines whose `target` names them.

    Args:
        a_type: "thread", "process" or "unix_socket".
        socket_path: where the socket is, in unix_socket mode.
        name: the owner's name.
        address: a bus to forward to, "127.0.0.1:7431" or a sidecar's "unix:/path". None: no forwarding.
        bus: instead of `address`, a connected bus that others use too; it stays connected.
        bus_name: the owner's name on the bus, where there is one; default: `name`. It is listened for under this
            name, and what it sends over the bus comes from this name. Here, both names lead to it.
        allowed_uids: users that may connect, in unix_socket mode. Default: the own one and root. Where it names others
            too, the socket's mode is 0666 and this check alone decides.
        on_denied: in unix_socket mode, is called with the refused peer and the reason: a user that may not connect, or
            a client too many. It runs in the thread that serves the socket and must not wait; what it raises is logged.

    Raises:
        ValueError: another type.
        InvalidAddressError: `address` is none.
        SocketInUseError: a live program has the socket, or the file is no socket. A stale socket is replaced.
        InvalidChannelError: with a bus, a name (`bus_name`) that is no channel token.
        BusDisconnectedError: the bus at `address` cannot be reached.
    """

    def __init__(
        self,
        a_type: ChannelType,
        socket_path: str = DEFAULT_SOCKET_PATH,
        *,
        name: str = "orchestrator",
        address: str | None = None,
        bus: MessageBus | None = None,
        bus_name: str | None = None,
        allowed_uids: Iterable[int] | None = None,
        on_denied: Callable[[Peer, str], None] | None = None,
    ) -> None:
        if a_type not in get_args(ChannelType):
            raise ValueError(f"a_type must be 'thread', 'process' or 'unix_socket', not {a_type!r}")
        if address is not None:
            check_target(address)
        self.a_type = a_type
        self.socket_path = socket_path
        self.name = name
        self.bus_name = name if bus_name is None else bus_name
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._endpoints: dict[str, Endpoint] = {}
        self._closed = False
        self._processes: ProcessAgents | None = None
        self._inbox: Mailbox
        self._waitable: Waitable
        self._default_timeout: float | None = None
        if a_type == "process":
            pipes: FanIn[ServiceMessage] = FanIn()
            self._inbox = self._waitable = pipes
            self._router = Router(name, pipes, self.bus_name)
            self._processes = ProcessAgents(self._router, pipes)
        elif a_type == "thread":
            self._inbox = self._waitable = ThreadMailbox()
            self._router = Router(name, self._inbox, self.bus_name)
        else:
            from trunkline.message_channel.unix_socket.socket_server import SocketServer

            self._default_timeout = CLIENT_RECEIVE_TIMEOUT
            server = SocketServer(name, socket_path, allowed_uids, on_denied)
            self._inbox = self._waitable = server.inbox
            self._router = Router(name, server.inbox, self.bus_name)
            server.start(self._router)
        if (way := address if bus is None else bus) is not None:
            self._forward(way)

    def send(self, target: str, msg: ServiceMessage) -> None:
        """Sends a message to a target; the class says where it goes.

        Raises:
            OverloadedError: the receiver has no room and made none within 5 s.
            MessageTooLargeError: it goes to another process or the bus, and is over 4 MiB.
            UnknownTargetError: unix_socket without `address`: no mailbox or client of that name.
            ChannelClosedError: the channel is closed, or the agent's process is gone.
            InvalidChannelError: it goes to the bus, and the target is no channel token.
            BusDisconnectedError: it goes to the bus, which is not reached.
        """
        if not isinstance(msg, ServiceMessage):
            raise TypeError(f"want a ServiceMessage, not {type(msg).__name__}")
        self._check()
        self._router.send(self.name, target, msg)

    def receive(self, timeout: float | None = None) -> ServiceMessage | None:
        """Takes the next message for the owner; None where none came in time.

        Args:
            timeout: seconds; 0 looks without waiting. None: for ever in thread and process mode,
                CLIENT_RECEIVE_TIMEOUT in unix_socket mode.

        Raises:
            ChannelClosedError: the channel is closed and everything was received; also when that happens meanwhile.
        """
        self._check_process()
        message = self._inbox.get(self._default_timeout if timeout is None else timeout)
        if message is not None:
            self._router.received(message)
        return message

    def reply(self, request: ServiceMessage, msg: ServiceMessage) -> None:
        """Sends a message to the sender of `request`, and to no other of the same name: the connection that it came
        from, or the bus request that waits. Where names alone are known (thread, process), it is `send`.

        Raises:
            UnknownTargetError: that request was answered already, or came too long ago.
            As `send`.
        """
        self._check()
        self._router.reply(self.name, request, msg)

    def broadcast(self, msg: ServiceMessage) -> None:
        """Sends a message to every endpoint and every connected client."""
        self._check()
        self._router.broadcast(msg)

    def endpoint(self, name: str, *, local: bool = False) -> Endpoint:
        """Returns the end of the agent of that name; the same object each time.

        Args:
            name: the agent's.
            local: in process mode: it is for a thread of this process, and has no pipes. The other modes' always are.

        Raises:
            ValueError: the name is empty or the owner's own, or it has an endpoint that is `local` where this is not.
            InvalidChannelError: with forwarding, a name that is no channel token.
        """
        if not name or name in (self.name, self.bus_name):
            raise ValueError(f"an endpoint needs a name of its own, not {name!r}")
        self._check()
        local = local or self._processes is None
        with self._lock:
            endpoint = self._endpoints.get(name)
            if endpoint is None:
                if self._router.bus is not None:
                    self._router.bus.listen(name)
                endpoint = self._endpoints[name] = self._make_endpoint(name, local)
        if isinstance(endpoint, LocalEndpoint) is not local:
            kinds = ("a process", "a thread") if local else ("a thread", "a process")
            raise ValueError(f"the endpoint {name!r} is for {kinds[0]}; remove it before it is made for {kinds[1]}")
        return endpoint

    def remove(self, name: str) -> None:
        """Forgets an endpoint: its receiver gets what is there and then `ChannelClosedError`, the bus is no
        longer listened to for it, and its name is free. What a process has already sent by it is still received. An
        unknown name is fine."""
        with self._lock:
            endpoint = self._endpoints.pop(name, None)
            if endpoint is None:
                return
            if self._router.bus is not None:
                self._router.bus.unlisten(name)
            mailbox = self._router.mailbox(name)
        if self._processes is not None and not isinstance(endpoint, LocalEndpoint):
            self._processes.remove(name)
        elif mailbox is not None:
            self._router.remove(name, mailbox)
            endpoint.close()

    def close(self) -> None:
        """Closes the channel: what was sent is handed over (5 s at most), the socket is removed, receivers get
        `ChannelClosedError`. Idempotent."""
        with self._lock:
            if self._closed or (self._processes is not None and self._pid != os.getpid()):
                return
            self._closed = True
        if self._router.bus is not None:
            self._router.bus.close()
        self._router.close()
        if self._processes is not None:
            self._processes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        context.assert_spawning(self)
        if self._processes is None:
            raise TypeError(f"a channel of type {self.a_type!r} cannot be handed to another process; use 'process'")
        return self._processes.endpoint(None).__reduce__()

    def _make_endpoint(self, name: str, local: bool) -> Endpoint:
        if self._processes is not None and not local:
            return self._processes.endpoint(name)
        mailbox = ThreadMailbox()
        self._router.add(name, mailbox)
        return LocalEndpoint(name, mailbox, self._router)

    def _forward(self, bus: str | MessageBus) -> None:
        from trunkline.message_channel.bus.mailbox_bridge import MailboxBridge

        try:
            self._router.bus = bridge = MailboxBridge(bus, self._router)
            bridge.listen(self.bus_name)
        except BaseException:
            self.close()
            raise

    def _check(self) -> None:
        if self._closed:
            raise ChannelClosedError("the channel is closed")
        self._check_process()

    def _check_process(self) -> None:
        if self._processes is not None and self._pid != os.getpid():
            raise MessageChannelError(
                "this channel was made in another process and came here by a fork; start agents with "
                "multiprocessing.get_context('spawn') and hand them channel.endpoint(name)"
            )

    def _receiving_end(self) -> Waitable:
        """What `wait` waits for."""
        self._check_process()
        return self._waitable


def wait(channels: Sequence[MessageChannel], timeout: float | None = None) -> list[MessageChannel]:
    """Waits until one of several channels has something for its owner to `receive`, without polling.

    One thread at a time may wait for a channel, by `wait` or by `receive`.

    Args:
        channels: of any types.
        timeout: seconds; 0 looks without waiting. None: for ever.

    Returns:
        Those that have something, or are closed, in the order given; none of them after the timeout.
    """
    found = wait_for_any([channel._receiving_end() for channel in channels], timeout)
    return [channel for channel, ready in zip(channels, found, strict=True) if ready]
