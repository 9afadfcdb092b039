"""Team: the agents, run by an orchestrator as threads and processes, and the external program."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from trunkline import AgentType
from trunkline.channels import agent_channel
from trunkline.demo.agent import Agent
from trunkline.demo.coding_agent import CodingAgent, CodingProcessAgent, ExternalCodingAgent
from trunkline.demo.limits import END_SECONDS, START_SECONDS, TICK_SECONDS
from trunkline.demo.posts import COORDINATOR, Job, Kind, Post, Way
from trunkline.demo.programs import Addresses
from trunkline.demo.review_agent import ReviewAgent, ReviewProcessAgent
from trunkline.orchestrator import AgentEntry, Orchestrator
from trunkline.programs import ProgramError
from trunkline.sync import MessageBus

_SCRIPT: Final = Path(__file__).with_name("external_agent.py")

_CLASSES: Final[dict[tuple[AgentType, Kind], type[Agent]]] = {
    (AgentType.CODING, "thread"): CodingAgent,
    (AgentType.CODING, "process"): CodingProcessAgent,
    (AgentType.CODING, "external"): ExternalCodingAgent,
    (AgentType.REVIEW, "thread"): ReviewAgent,
    (AgentType.REVIEW, "process"): ReviewProcessAgent,
}


@dataclass(frozen=True, slots=True)
class Member:
    """One agent and how it fares. Of an external agent that is a thread here; the program it stands for has no state
    of its own."""

    post: Post
    entry: AgentEntry

    @property
    def is_alive(self) -> bool:
        """Whether its thread or process runs."""
        return self.entry.is_alive()

    @property
    def pid(self) -> int | None:
        """The id of its process; None of a thread, and of one that has ended."""
        return self.entry.pid

    @property
    def failure(self) -> str | None:
        """What it ended of, such as "killed by signal 9 (SIGKILL)"; None where it ended well or runs."""
        return self.entry.reason


def plan(job: Job, addresses: Addresses, threads: int, processes: int) -> list[Post]:
    """The posts of a run: so many coding agents as threads and as processes, one external, and two reviewers. Every
    second one goes through the sidecar, so that all three programs carry traffic."""
    kinds: list[tuple[AgentType, Kind, int]] = [
        (AgentType.CODING, "thread", threads),
        (AgentType.CODING, "process", processes),
        (AgentType.REVIEW, "thread", 1),
        (AgentType.REVIEW, "process", 1),
        (AgentType.CODING, "external", 1),
    ]
    posts: list[Post] = []
    for type, kind, count in kinds:
        for number in range(1, count + 1):
            way: Way = "sidecar" if len(posts) % 2 else "bus"
            bus, state = (addresses.sidecar,) * 2 if way == "sidecar" else (addresses.bus, addresses.state)
            posts.append(Post(job, f"{type}-{kind}-{number}", type, kind, way, bus, state))
    return posts


class Team:
    """A context in which all agents run and are ready.

    Raises:
        ProgramError: on entry; an agent was not ready in time.
    """

    def __init__(self, posts: list[Post], addresses: Addresses, bus: MessageBus) -> None:
        self.members: list[Member] = []
        self._posts = posts
        self._addresses = addresses
        self._bus = bus
        self._open = ExitStack()
        self._reported: set[str] = set()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self._open)
            for post in self._posts:
                if post.kind == "external":
                    self._open.enter_context(self._external_program(post))
            config = Orchestrator.Config(max_workers=max(1, len(self._posts)))
            self._orchestrator = self._open.enter_context(Orchestrator(config, COORDINATOR))
            for post in self._posts:
                entry = self._orchestrator.register_agent(_CLASSES[post.type, post.kind], post.name, post=post)
                self.members.append(Member(post, entry))
            self._orchestrator.start()
            self._await_ready()
            undo.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()  # also of a run that was interrupted: agents finish what they have begun

    def failed(self) -> list[Member]:
        """Returns the agents that have ended by themselves since the last call."""
        failed = [each for each in self.members if not each.entry.is_active and each.post.name not in self._reported]
        self._reported |= {member.post.name for member in failed}
        return failed

    def stop(self) -> None:
        """Stops all agents, and waits until they have finished what they have begun. Idempotent."""
        self._orchestrator.stop()
        self._orchestrator.join(END_SECONDS)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        waiting = self.members
        while waiting := [each for each in waiting if not each.entry.state_events.ready_event.wait(TICK_SECONDS)]:
            gone = [member for member in waiting if not member.entry.is_active]
            if gone or time.monotonic() > deadline:
                names = ", ".join(member.post.name for member in gone or waiting)
                raise ProgramError(f"agents did not start: {names}")

    @contextmanager
    def _external_program(self, post: Post) -> Iterator[None]:
        """Runs the program that an external agent stands for, from its first line on."""
        name = post.external_channel.rpartition(":")[2]
        listener = f"{post.job.id}.{COORDINATOR}"
        ready = threading.Event()
        self._bus.subscribe(agent_channel(listener), lambda _: ready.set())
        command = [sys.executable, str(_SCRIPT), self._addresses.socket, name, listener]
        program = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            if not ready.wait(START_SECONDS):
                raise ProgramError(f"the external agent did not speak (exit code {program.poll()})")
            yield
        finally:
            program.kill()
            program.wait()
