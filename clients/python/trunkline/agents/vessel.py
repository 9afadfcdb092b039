"""Vessels: what an agent runs in, a thread or a spawned process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import connection, util
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Final, Protocol

from trunkline.agents.errors import AgentStartError
from trunkline.agents.limits import ORPHAN_GRACE, REAP_SECONDS

if TYPE_CHECKING:
    from trunkline.agents.base import BaseAgent

_STOP: Final = b"stop"
ORPHANED: Final = 70
"""Exit code of an agent's process whose owner has gone and that did not end in time (EX_SOFTWARE)."""
_FAILED: Final = 1
FAILED_ITSELF: Final = f"exit code {_FAILED}"
"""What a process died of whose agent failed: it has said itself of what."""


class Vessel(Protocol):
    """One life of an agent. Any thread may call."""

    pid: int | None
    """Of its process; None for a thread."""
    sentinel: int | None
    """A descriptor that becomes readable when the process has ended; None for a thread, and when it was reaped."""

    def start(self) -> None:
        """Begins. Raises AgentStartError."""

    def is_alive(self) -> bool:
        """Whether it still runs."""

    def ask_to_stop(self) -> None:
        """Asks it to end; idempotent, and fine when it has ended. Never waits."""

    def join(self, timeout: float | None = None) -> bool:
        """Waits for its end; says whether it has ended."""

    def kill(self) -> bool:
        """Ends it at once; False where that cannot be done (a thread)."""

    def reap(self) -> None:
        """Of one whose end was noticed: frees what it took."""

    def failure(self) -> str | None:
        """Of one that was reaped: what it died of; None where it ended well."""


class ThreadVessel:
    """A daemon thread of this process."""

    pid: int | None = None
    sentinel: int | None = None

    def __init__(self, agent: BaseAgent, on_end: Callable[[], object] | None) -> None:
        self._agent = agent
        self._on_end = on_end
        self._thread = threading.Thread(target=self._run, name=agent.name, daemon=True)

    def start(self) -> None:
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

    def reap(self) -> None:
        self._thread.join()

    def failure(self) -> str | None:
        return self._agent.failure


class ProcessVessel:
    """A process that is started with `spawn`. Its owner asks it to stop through a pipe; the pipe's end tells it that
    the owner has gone, and it does not outlive that for long.

    Its end is noticed by a descriptor of the process itself, which no child of it can keep open. One thread notices
    and reaps it; all others ask here, because two that ask the system for one exit code can miss it.
    """

    def __init__(self, agent: BaseAgent) -> None:
        context = multiprocessing.get_context("spawn")
        self._name = agent.name
        self._control, self._theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=_live, args=(agent, self._theirs), name=agent.name, daemon=agent.config.daemon
        )
        self._lock = threading.Lock()
        self._reaped = threading.Event()
        self._was_asked = False
        self._exit_code: int | None = None
        self.pid: int | None = None
        self.sentinel: int | None = None
        # At the end of this program: asked before multiprocessing terminates what is left. It also keeps the pipe,
        # whose end would stop the agent, while nobody keeps this object.
        self._at_exit = util.Finalize(None, _ask, (self._control,), exitpriority=20)

    def start(self) -> None:
        try:
            self._process.start()
            self.pid = self._process.pid
            assert self.pid is not None
            self.sentinel = os.pidfd_open(self.pid)
        except Exception as error:
            if self.pid is not None:
                self._process.kill()  # nobody could notice its end
            self._at_exit.cancel()
            self._control.close()
            self._reaped.set()
            raise AgentStartError(
                f"agent {self._name!r} cannot be handed to a process: {error}", details={"agent": self._name}
            ) from error
        finally:
            self._theirs.close()

    def follow(self, said: Callable[[str], object], ended: Callable[[], object]) -> None:
        """Tells in a thread what happens to it, until it has ended; then reaps it."""
        thread = threading.Thread(target=self._listen, args=(said, ended), name=f"follow {self._name}", daemon=True)
        thread.start()

    def _listen(self, said: Callable[[str], object], ended: Callable[[], object]) -> None:
        assert self.sentinel is not None
        try:
            while self._control in connection.wait([self._control, self.sentinel]):
                said(self._control.recv_bytes().decode())
        except (EOFError, OSError):
            connection.wait([self.sentinel])  # it has closed its end of the pipe, and is about to end
        self.reap()
        ended()

    def is_alive(self) -> bool:
        with self._lock:
            return self.pid is not None and not self._reaped.is_set() and self._process.is_alive()

    def ask_to_stop(self) -> None:
        with self._lock:
            if not self._was_asked and not self._reaped.is_set():
                self._was_asked = True
                _ask(self._control)

    def join(self, timeout: float | None = None) -> bool:
        return self._reaped.wait(timeout)

    def kill(self) -> bool:
        with self._lock:
            if self.sentinel is not None:
                try:
                    signal.pidfd_send_signal(self.sentinel, signal.SIGKILL)
                except ProcessLookupError:
                    return True  # it has ended
        return True

    def reap(self) -> None:
        with self._lock:
            if self._reaped.is_set():
                return
            self._exit_code = _exit_code(self._process)
            self._process.close()
            self._at_exit.cancel()
            self._control.close()
            if self.sentinel is not None:
                os.close(self.sentinel)
                self.sentinel = None
            self._reaped.set()

    def failure(self) -> str | None:
        code = self._exit_code
        if code is None or code == 0:
            return None
        if code < 0:
            return f"killed by signal {-code} ({signal.Signals(-code).name})"
        return f"exit code {code}"


def _exit_code(process: SpawnProcess) -> int | None:
    """Of a process that has ended. Starting a process makes multiprocessing ask for all others' codes, too: where that
    happens in another thread right now, the answer is there, and known in a moment."""
    process.join()
    until = time.monotonic() + REAP_SECONDS
    while process.exitcode is None and time.monotonic() < until:
        time.sleep(0.001)
    return process.exitcode


def _ask(control: Connection) -> None:
    try:
        control.send_bytes(_STOP)
    except OSError:
        return  # it has ended, which is what was asked for


def _live(agent: BaseAgent, control: Connection) -> None:
    """In the agent's process: lives, and ends when the owner says so or has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the whole group; the owner stops its agents
    if control.poll():  # asked to stop while it was being started
        agent.asked_to_stop()
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
    try:
        while True:
            control.recv_bytes()
            agent.asked_to_stop()
    except (EOFError, OSError):
        agent.asked_to_stop()
    agent.has_ended.wait(agent.config.stop_timeout)
    time.sleep(ORPHAN_GRACE)
    os._exit(ORPHANED)
