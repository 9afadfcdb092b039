"""Runners: the thread or the spawned process that an agent runs in."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import connection, process, util
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Final, Protocol

from trunkline.agents.errors import AgentStartError
from trunkline.agents.limits import ORPHAN_GRACE, REAP_SECONDS
from trunkline.agents.state_events import StateEvents
from trunkline.text import safe_text

_STOP: Final = b"stop"
ORPHANED: Final = 70
"""Exit code of an agent's process that outlived its owner and did not end in time (EX_SOFTWARE)."""
_FAILED: Final = 1
FAILED_ITSELF: Final = f"exit code {_FAILED}"
"""Failure of a process whose agent failed: the agent itself has reported the reason."""


class Runnable(Protocol):
    """What a runner needs of an agent."""

    name: str
    failure: str | None
    """Why the agent failed; None while it has not."""
    has_ended: threading.Event
    """Set at the end of `run`."""
    state_events: StateEvents

    def run(self) -> None:
        """Runs the agent from its start to its end, in the calling thread."""

    def asked_to_stop(self) -> None:
        """Asks the agent to end; idempotent, never waits."""


class Runner(Protocol):
    """One run of an agent, from its start to its end. Any thread may call."""

    pid: int | None
    """Process id; None for a thread."""
    sentinel: int | None
    """File descriptor that becomes readable when the process has ended; None for a thread, and after `reap`."""

    def start(self) -> None:
        """Starts the thread or process. Raises AgentStartError."""

    def is_alive(self) -> bool:
        """Tells whether the thread or process runs."""

    def ask_to_stop(self) -> None:
        """Asks the agent to end; idempotent, and without effect after its end. Never waits."""

    def join(self, timeout: float | None = None) -> bool:
        """Waits for the end, `timeout` seconds at most; returns whether it has ended."""

    def kill(self) -> bool:
        """Ends a process at once; returns False for a thread, which cannot be killed."""

    def reap(self) -> None:
        """Releases the resources of a thread or process that has ended."""

    def failure(self) -> str | None:
        """Returns why a reaped run failed; None where it ended well."""


class ThreadRunner:
    """A daemon thread of this process.

    Args:
        agent: runs in the thread.
        on_end: called in the thread when the agent has ended.
    """

    pid: int | None = None
    sentinel: int | None = None

    def __init__(self, agent: Runnable, on_end: Callable[[], object] | None) -> None:
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


class ProcessRunner:
    """A process that is started with `spawn`. A pipe carries the request to stop; when the owner dies, the pipe closes
    and the process ends soon after.

    The end of the process is noticed by a descriptor of the process itself, which none of its children can keep open.
    One thread notices and reaps it; the others ask this object, because two waits for one exit code can miss it.

    Args:
        agent: runs in the process; it is pickled.
        daemon: whether the process ends with this one, and may not start processes with multiprocessing itself.
        stop_timeout: seconds that the agent may take to end after its owner has gone.
    """

    def __init__(self, agent: Runnable, *, daemon: bool, stop_timeout: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._name = agent.name
        self._agent_class = type(agent)
        self._control, self._theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=_live, args=(agent, self._theirs, stop_timeout), name=agent.name, daemon=daemon
        )
        self._lock = threading.Lock()
        self._reaped = threading.Event()
        self._was_asked = False
        self._exit_code: int | None = None
        self.pid: int | None = None
        self.sentinel: int | None = None
        # At the end of this program the agent is asked to stop before multiprocessing terminates what is left. The
        # finalizer also keeps the pipe, whose end would stop the agent, after this object was collected.
        self._at_exit = util.Finalize(None, _ask, (self._control,), exitpriority=20)

    def start(self) -> None:
        try:
            _check_importable(self._agent_class)
            self._process.start()
            self.pid = self._process.pid
            assert self.pid is not None
            self.sentinel = os.pidfd_open(self.pid)
        except Exception as error:
            if self.pid is not None:
                self._process.kill()  # its end could not be noticed
            self._at_exit.cancel()
            self._control.close()
            self._reaped.set()
            raise AgentStartError(
                f"agent {self._name!r} cannot be handed to a process: {safe_text(str(error))}",
                details={"agent": self._name},
            ) from error
        finally:
            self._theirs.close()

    def follow(self, on_event: Callable[[str], object], on_end: Callable[[], object]) -> None:
        """Starts a thread that passes on the agent's life cycle events until the process has ended, and reaps it."""
        thread = threading.Thread(
            target=self._listen, args=(on_event, on_end), name=f"follow {self._name}", daemon=True
        )
        thread.start()

    def _listen(self, on_event: Callable[[str], object], on_end: Callable[[], object]) -> None:
        assert self.sentinel is not None
        try:
            while self._control in connection.wait([self._control, self.sentinel]):
                on_event(self._control.recv_bytes().decode())
        except (EOFError, OSError):
            connection.wait([self.sentinel])  # the process has closed its end of the pipe, and is about to end
        self.reap()
        on_end()

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
                    return True  # the process has ended
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


def _check_importable(agent_class: type) -> None:
    """Checks that a spawned process can import this program, which it does at its start (`multiprocessing.spawn`).

    Raises:
        ValueError: it cannot; says why, and what to do.
    """
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    first_directory = getattr(process, "ORIGINAL_DIR", None) or ""
    if main.__spec__ is not None or (path is not None and os.path.exists(os.path.join(first_directory, path))):
        return
    if path is None and agent_class.__module__ != "__main__":
        return  # of `-c` or an interactive session: nothing of it is imported but what the agent needs
    how = "is defined in" if agent_class.__module__ == "__main__" else "is started by"
    raise ValueError(
        f"{agent_class.__name__} {how} a program that was read from standard input, -c or an interactive session, which"
        " a spawned process cannot import; put the program into a file, with its start under"
        " `if __name__ == '__main__':`, or take a thread agent"
    )


def _exit_code(process: SpawnProcess) -> int | None:
    """Returns the exit code of a process that has ended. Starting a process makes multiprocessing collect the codes of
    all others, too: where another thread does so right now, the code is known in a moment."""
    process.join()
    until = time.monotonic() + REAP_SECONDS
    while process.exitcode is None and time.monotonic() < until:
        time.sleep(0.001)
    return process.exitcode


def _ask(control: Connection) -> None:
    try:
        control.send_bytes(_STOP)
    except OSError:
        return  # the process has ended already


def _live(agent: Runnable, control: Connection, stop_timeout: float) -> None:
    """Runs the agent in its process; ends when the owner asks for that, or has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the whole group; the owner stops its agents
    if control.poll():  # asked to stop while the process was being started
        agent.asked_to_stop()
    threading.Thread(target=_obey, args=(agent, control, stop_timeout), name="trunkline-control", daemon=True).start()
    agent.state_events.on_event = partial(_report, control)
    agent.run()
    if agent.failure is not None:
        sys.exit(_FAILED)


def _report(control: Connection, payload: str) -> None:
    try:
        control.send_bytes(payload.encode())
    except OSError:
        return  # the owner has gone, which `_obey` notices


def _obey(agent: Runnable, control: Connection, stop_timeout: float) -> None:
    """Waits for the request to stop, and for the end of the owner."""
    try:
        while True:
            control.recv_bytes()
            agent.asked_to_stop()
    except (EOFError, OSError):
        agent.asked_to_stop()
    agent.has_ended.wait(stop_timeout)
    time.sleep(ORPHAN_GRACE)
    os._exit(ORPHANED)
