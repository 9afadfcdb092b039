"""Vessels: what an agent runs in, a thread or a spawned process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import util
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Final, Protocol

from trunkline.agents.errors import AgentStartError

if TYPE_CHECKING:
    from trunkline.agents.base import BaseAgent

_STOP: Final = b"stop"
ORPHANED: Final = 70
"""Exit code of an agent's process whose owner has gone and that did not end in time (EX_SOFTWARE)."""
_FAILED: Final = 1


class Vessel(Protocol):
    """One life of an agent."""

    pid: int | None
    """Of its process; None for a thread."""
    sentinel: int | None
    """A descriptor that becomes readable when the process has ended; None for a thread."""

    def is_alive(self) -> bool:
        """Whether it still runs."""

    def ask_to_stop(self) -> None:
        """Asks it to end; idempotent, and fine when it has ended."""

    def join(self, timeout: float | None = None) -> bool:
        """Waits for its end; says whether it has ended."""

    def kill(self) -> bool:
        """Ends it at once; False where that cannot be done (a thread)."""

    def failure(self) -> str | None:
        """Of one that has ended: what it died of; None where it ended well."""


class ThreadVessel:
    """A daemon thread of this process."""

    pid: int | None = None
    sentinel: int | None = None

    def __init__(self, agent: BaseAgent, on_end: Callable[[], object] | None) -> None:
        self._agent = agent
        self._on_end = on_end
        self._thread = threading.Thread(target=self._run, name=agent.name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._agent.run()
        finally:
            if self._on_end is not None:
                self._on_end()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def ask_to_stop(self) -> None:
        self._agent.asked_to_stop()

    def join(self, timeout: float | None = None) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def kill(self) -> bool:
        return False

    def failure(self) -> str | None:
        return self._agent.failure


class ProcessVessel:
    """A process that is started with `spawn`. Its owner asks it to stop through a pipe; the pipe's end tells it that
    the owner has gone, and it does not outlive that for long."""

    def __init__(self, agent: BaseAgent) -> None:
        context = multiprocessing.get_context("spawn")
        self._control, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=_live, args=(agent, theirs), name=agent.name, daemon=agent.config.daemon
        )
        try:
            self._process.start()
        except Exception as error:
            self._control.close()
            raise AgentStartError(
                f"agent {agent.name!r} cannot be handed to a process: {error}", details={"agent": agent.name}
            ) from error
        finally:
            theirs.close()
        self.pid: int | None = self._process.pid
        self.sentinel: int | None = self._process.sentinel
        # At the end of this program: asked before multiprocessing terminates what is left. It also keeps the pipe,
        # whose end would stop the agent, while nobody keeps this object.
        self._at_exit = util.Finalize(None, _ask, (self._control,), exitpriority=20)

    def follow(self, said: Callable[[str], object], ended: Callable[[], object]) -> None:
        """Tells in a thread what happens to it, until it has ended."""

        def listen() -> None:
            try:
                while True:
                    said(self._control.recv_bytes().decode())
            except (EOFError, OSError):
                ended()

        threading.Thread(target=listen, name=f"follow {self._process.name}", daemon=True).start()

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def ask_to_stop(self) -> None:
        _ask(self._control)

    def join(self, timeout: float | None = None) -> bool:
        self._process.join(timeout)
        if self._process.is_alive():
            return False
        self._at_exit.cancel()
        return True

    def kill(self) -> bool:
        self._process.kill()
        return True

    def failure(self) -> str | None:
        code = self._process.exitcode
        if code is None or code == 0:
            return None
        if code < 0:
            return f"killed by signal {-code} ({signal.Signals(-code).name})"
        return f"exit code {code}"


def _ask(control: Connection) -> None:
    try:
        control.send_bytes(_STOP)
    except OSError:
        return  # it has ended, which is what was asked for


def _live(agent: BaseAgent, control: Connection) -> None:
    """In the agent's process: lives, and ends when the owner says so or has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the whole group; the owner stops its agents
    threading.Thread(target=_obey, args=(agent, control), name="trunkline-control", daemon=True).start()
    agent.state_events.told = partial(_report, control)
    agent.run()
    if agent.failure is not None:
        sys.exit(_FAILED)


def _report(control: Connection, payload: str) -> None:
    try:
        control.send_bytes(payload.encode())
    except OSError:
        return  # the owner has gone: `_obey` sees to that


def _obey(agent: BaseAgent, control: Connection) -> None:
    while True:
        try:
            control.recv_bytes()
        except (EOFError, OSError):
            agent.asked_to_stop()
            if not agent.has_ended.wait(agent.config.stop_timeout):
                os._exit(ORPHANED)
            return
        agent.asked_to_stop()
