"""ProcessAgents: the owner's side of process mode."""

from __future__ import annotations

import logging
import threading
from functools import partial
from multiprocessing import util

from trunkline.errors import TrunklineError
from trunkline.message_channel.errors import ChannelClosedError
from trunkline.message_channel.limits import FLUSH_SECONDS
from trunkline.message_channel.process.endpoint import AgentEnds, ProcessEndpoint, Transit, open_pipes
from trunkline.message_channel.process.fan_in import FanIn
from trunkline.message_channel.process.pipes import FrameReader, FrameWriter
from trunkline.message_channel.router import Router
from trunkline.message_channel.service_message import Flat, ServiceMessage, flattened, restored

_log = logging.getLogger(__name__)


class _Agent:
    """The owner's side of one agent: the pipe to it, and the owner's copies of the agent's pipe ends."""

    def __init__(self, name: str | None, ends: AgentEnds, down: FrameWriter, router: Router) -> None:
        self.name = name
        self._router = router
        self.is_learned = name is None
        self.ends = ends
        self.down = down
        self.endpoint: ProcessEndpoint | None = None
        self.heard = False

    def put(self, message: ServiceMessage) -> None:
        """Sends to the agent. A request counts as received from here on, since the agent's process is not seen."""
        self.down.write(flattened(message))
        self._router.received(message)

    def close(self) -> None:
        """Ends the pipe to the agent when it took what was sent, FLUSH_SECONDS at most; idempotent."""
        self.down.flush(FLUSH_SECONDS)
        self.down.close()


class ProcessAgents:
    """Makes endpoints for spawned processes and serves them.

    What an agent sends to the owner comes to the owner's mailbox straight from the agent's pipe. What it sends to
    others is read and passed on by one thread, which sleeps while there is nothing.
    """

    def __init__(self, router: Router, inbox: FanIn[ServiceMessage]) -> None:
        self._router = router
        self._inbox = inbox
        self._transit: FanIn[tuple[_Agent, str, ServiceMessage, int | None]] = FanIn()
        self._agents: list[_Agent] = []
        self._server: threading.Thread | None = None
        util.Finalize(self, partial(_flush, self._agents), exitpriority=10)

    def endpoint(self, name: str | None) -> ProcessEndpoint:
        """Makes a new agent's end. Without a name, the agent is known by the sender of its first message."""
        agent = self._connect(name)
        owner = (self._router.owner, self._router.alias)
        agent.endpoint = ProcessEndpoint(name or "", owner, agent.ends, partial(self._renew, agent))
        if self._server is None:
            self._server = threading.Thread(target=self._serve, name="message-channel-transit", daemon=True)
            self._server.start()
        return agent.endpoint

    def remove(self, name: str) -> None:
        """Ends the pipe to the agent of that name and frees the name. What the agent still sends is received: its pipes
        are freed when its process has closed them. An unknown name is fine."""
        agent = self._router.mailbox(name)
        if isinstance(agent, _Agent):
            self._router.remove(name, agent)
            if agent.endpoint is not None:
                agent.endpoint.end()
            agent.ends.close()
            agent.close()

    def close(self) -> None:
        """Hands over what was sent (FLUSH_SECONDS at most for each agent), then closes every pipe. Idempotent."""
        for agent in self._agents:
            agent.close()
            agent.ends.close()
        self._transit.close()
        self._inbox.close()

    def _connect(self, name: str | None) -> _Agent:
        ends, own = open_pipes()
        agent = _Agent(name, ends, FrameWriter(own.down), self._router)
        self._agents.append(agent)
        self._inbox.add(FrameReader(own.up), partial(self._accept, agent), partial(self._gone, agent))
        self._transit.add(FrameReader(own.transit), partial(self._accept_transit, agent), _nothing)
        if name is not None:
            self._router.add(name, agent)
        return agent

    def _renew(self, before: _Agent, endpoint: ProcessEndpoint) -> AgentEnds:
        """Makes fresh pipes for a process that takes another's place. What the other still sends is received."""
        before.down.close()
        before.ends.close()
        agent = self._connect(before.name)
        agent.endpoint = endpoint
        endpoint.renewed_by(partial(self._renew, agent))
        return agent.ends

    def _accept(self, agent: _Agent, flat: Flat) -> ServiceMessage:
        message = restored(flat)
        if not agent.heard:
            self._first(agent, message.sender)
        return message

    def _accept_transit(self, agent: _Agent, transit: Transit) -> tuple[_Agent, str, ServiceMessage, int | None]:
        target, flat, token = transit
        return agent, target, self._accept(agent, flat), token

    def _first(self, agent: _Agent, sender: str) -> None:
        agent.heard = True
        if agent.endpoint is not None and agent.endpoint.is_handed_over:
            # The agent has its ends; with the owner's copies closed, each side sees the other's end.
            agent.ends.close()
        if agent.name is None:
            agent.name = sender
            known = self._router.mailbox(sender)
            if known is None or (isinstance(known, _Agent) and known.is_learned):
                self._router.add(sender, agent)

    def _gone(self, agent: _Agent) -> None:
        agent.down.close()
        if agent in self._agents:
            self._agents.remove(agent)
        if agent.is_learned and agent.name is not None:
            self._router.remove(agent.name, agent)

    def _serve(self) -> None:
        while True:
            try:
                item = self._transit.get(None)
            except ChannelClosedError:
                return
            if item is None:
                continue
            agent, target, message, token = item
            try:
                self._router.answer(agent.name or message.sender, token, target, message)
            except TrunklineError as error:
                _log.warning("a message from %r to %r was not delivered: %s", message.sender, target, error)
            except Exception:  # noqa: BLE001  # one message's failure must not end the others' way
                _log.exception("a message from %r to %r was not delivered", message.sender, target)


def _nothing() -> None:
    """Does nothing: the transit ends with the up pipe, whose end is handled."""


def _flush(agents: list[_Agent]) -> None:
    for agent in agents:
        agent.down.flush(FLUSH_SECONDS)
