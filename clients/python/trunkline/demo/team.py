"""Team: starts the agents as threads, as spawned processes and as an external program, and ends them."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from trunkline import AgentType, MessageChannel, ServiceMessage
from trunkline.channels import agent_channel
from trunkline.demo.agent import READY, STOP, Agent
from trunkline.demo.coding_agent import CodingAgent, ExternalCodingAgent
from trunkline.demo.limits import CALL_SECONDS, END_SECONDS, START_SECONDS
from trunkline.demo.narrator import LOG_FORMAT
from trunkline.demo.posts import COORDINATOR, Job, Kind, Post, Way
from trunkline.demo.programs import Addresses, ProgramError
from trunkline.demo.review_agent import ReviewAgent
from trunkline.message_channel import Endpoint
from trunkline.sync import MessageBus, StateManager

_SCRIPT: Final = Path(__file__).with_name("external_agent.py")


@dataclass(slots=True)
class Member:
    """One agent and what it runs in. For an external agent that is a thread here and the program it stands for."""

    post: Post
    runner: threading.Thread | SpawnProcess
    is_alive: bool = True


def plan(job: Job, addresses: Addresses, threads: int, processes: int) -> list[Post]:
    """The posts of a run: so many coding agents as threads and as processes, one external, and two reviewers. Every
    second one goes through the sidecar, so that all three programs carry traffic."""
    wanted: list[tuple[AgentType, Kind, int]] = [
        (AgentType.CODING, "thread", threads),
        (AgentType.CODING, "process", processes),
        (AgentType.REVIEW, "thread", 1),
        (AgentType.REVIEW, "process", 1),
        (AgentType.CODING, "external", 1),
    ]
    posts: list[Post] = []
    for type, kind, count in wanted:
        for number in range(1, count + 1):
            way: Way = "sidecar" if len(posts) % 2 else "bus"
            bus, state = (addresses.sidecar,) * 2 if way == "sidecar" else (addresses.bus, addresses.state)
            posts.append(Post(job, f"{type}-{kind}-{number}", type, kind, way, bus, state))
    return posts


def attend(post: Post, end: Endpoint) -> None:
    """An agent's whole life: what its thread or its process runs."""
    roles: dict[tuple[AgentType, bool], type[Agent]] = {
        (AgentType.CODING, False): CodingAgent,
        (AgentType.CODING, True): ExternalCodingAgent,
        (AgentType.REVIEW, False): ReviewAgent,
    }
    logging.basicConfig(level=logging.ERROR, format=LOG_FORMAT)  # a process has not set it up yet
    role = roles[post.type, post.kind == "external"]
    with MessageBus(post.bus) as bus, StateManager(post.state, timeout=CALL_SECONDS) as state:
        role(post, bus, state).run(end)


class Team:
    """A context in which all agents run and have said that they are ready.

    Raises:
        ProgramError: on entry; an agent was not ready in time.
    """

    def __init__(self, posts: list[Post], addresses: Addresses, bus: MessageBus) -> None:
        self.members: list[Member] = []
        self._posts = posts
        self._addresses = addresses
        self._bus = bus
        self._open = ExitStack()
        self._is_over = False

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self._open)
            # One MessageChannel for each kind: the way to tell agents that it is over, and to hear that they are ready.
            self._open.callback(self._join)
            self._threads = self._open.enter_context(MessageChannel("thread", name=COORDINATOR))
            self._processes = self._open.enter_context(MessageChannel("process", name=COORDINATOR))
            self._open.callback(self._end)
            for post in self._posts:
                if post.kind == "external":
                    self._open.enter_context(self._external_program(post))
                self._start(post)
            self._await_ready()
            undo.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.stop()  # also of a run that was interrupted: agents finish what they have begun
        finally:
            self._open.close()

    def fallen(self) -> list[Member]:
        """Those that have ended since they were asked for last, and should not have."""
        fallen = [member for member in self.members if member.is_alive and not member.runner.is_alive()]
        for member in fallen:
            member.is_alive = False
        return fallen

    def stop(self) -> None:
        """Tells everybody that it is over, and waits until they have said their last. Idempotent."""
        if self._is_over:
            return
        self._is_over = True
        for member in self.members:
            if member.is_alive and member.runner.is_alive():
                self._channel(member.post).send(member.post.name, ServiceMessage(COORDINATOR, "COMMAND", STOP))
        deadline = time.monotonic() + END_SECONDS
        for member in self.members:
            member.runner.join(max(0.0, deadline - time.monotonic()))

    def _channel(self, post: Post) -> MessageChannel:
        return self._processes if post.kind == "process" else self._threads

    def _start(self, post: Post) -> None:
        end = self._channel(post).endpoint(post.name)
        runner: threading.Thread | SpawnProcess
        if post.kind == "process":
            # Spawned, never forked: a forked child would inherit half a gRPC.
            context = multiprocessing.get_context("spawn")
            runner = context.Process(target=attend, args=(post, end), name=post.name, daemon=True)
            with _deaf_to_interrupts():
                runner.start()
        else:
            runner = threading.Thread(target=attend, args=(post, end), name=post.name, daemon=True)
            runner.start()
        self.members.append(Member(post, runner))

    def _await_ready(self) -> None:
        waiting = {member.post.name: member for member in self.members}
        deadline = time.monotonic() + START_SECONDS
        while waiting:
            for channel in (self._threads, self._processes):
                said = channel.receive(0.02)
                if said is not None and said.payload == READY:
                    waiting.pop(said.sender, None)
            gone = [name for name, member in waiting.items() if not member.runner.is_alive()]
            if gone or time.monotonic() > deadline:
                raise ProgramError(f"agents did not start: {', '.join(gone or waiting)}")

    @contextmanager
    def _external_program(self, post: Post) -> Iterator[None]:
        """Runs the program that an external agent stands for, from when it has said its name on."""
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

    def _join(self) -> None:
        """Threads that still run, because something went wrong, end with their channel."""
        deadline = time.monotonic() + END_SECONDS
        for member in self.members:
            if isinstance(member.runner, threading.Thread):
                member.runner.join(max(0.0, deadline - time.monotonic()))

    def _end(self) -> None:
        """Processes that still run, because something went wrong, are ended."""
        for member in self.members:
            if isinstance(member.runner, SpawnProcess):
                member.runner.kill()
                member.runner.join()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """A terminal sends Ctrl-C to children too; those started in here inherit that it means nothing to them. They end
    when the coordinator says so, or when their pipe to it breaks."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
