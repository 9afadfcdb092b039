"""Programs: bus, state and sidecar, started as child processes, or those that run already."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Self

from trunkline.demo.limits import END_SECONDS, START_SECONDS

_FREE_PORT: Final = "127.0.0.1:0"
_KEPT_LINES: Final = 20


class ProgramError(Exception):
    """A program could not be started; the message says which, and what it said itself."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the three programs are. `metrics` is the sidecar's page, None where it is not known."""

    bus: str
    state: str
    sidecar: str
    socket: str
    metrics: str | None


@dataclass(frozen=True, slots=True)
class Running:
    """Programs that run already; what is None is started. `sidecar` and `socket` belong together."""

    bus: str | None = None
    state: str | None = None
    sidecar: str | None = None
    socket: str | None = None


class Programs:
    """A context in which all three programs run. At its end those that it started are gone, and so are their files.

    Raises:
        ProgramError: on entry; a program ended or was not ready in time.
    """

    def __init__(self, running: Running) -> None:
        self._running = running
        self._children = ExitStack()
        self._started: list[_Program] = []

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self._children)
            self.addresses = self._start()
            undo.pop_all()  # all run: they stay until __exit__
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for program in self._started:  # all at once: the whole end takes as long as the slowest one's
            program.ask_to_end()
        self._children.close()

    def check(self) -> None:
        """Raises ProgramError where one that was started has ended by itself."""
        for program in self._started:
            program.check()

    @property
    def has_own_bus(self) -> bool:
        """Whether the bus was started here, and so may be killed."""
        return isinstance(self._bus, _Program)

    def restart_bus(self) -> int:
        """Kills the bus as a crash would, and starts it again: on the same address, with the same file. Returns the
        process id of the one that was killed."""
        assert isinstance(self._bus, _Program), "a bus that somebody else started is not ours to kill"
        return self._bus.restart()

    def _start(self) -> Addresses:
        given = self._running
        folder = Path(self._children.enter_context(TemporaryDirectory(prefix="trunkline-demo-")))
        bus = self._bus = self._program("bus", given.bus, _FREE_PORT, "--path", str(folder / "bus.db"))
        state = self._program("state", given.state, _FREE_PORT, "--path", str(folder / "state.db"))
        upstreams = ("--bus-address", bus.ready()["address"], "--state-address", state.ready()["address"])
        socket = given.socket or str(folder / "channel.sock")
        own = ("--store-path", str(folder / "sidecar.db"))
        more = ("--socket-path", socket, "--metrics-address", _FREE_PORT, *own, *upstreams)
        sidecar = self._program("sidecar", given.sidecar, f"unix:{folder / 'sidecar.sock'}", *more).ready()
        return Addresses(
            bus.ready()["address"], state.ready()["address"], sidecar["address"], socket, sidecar["metrics_address"]
        )

    def _program(self, name: str, running_at: str | None, address: str, *options: str) -> _Program | _RunningProgram:
        """One that runs already, or else a child that is starting at that address."""
        if running_at is not None:
            return _RunningProgram(running_at)
        program = self._children.enter_context(_Program(name, address, options))
        self._started.append(program)
        return program


@dataclass(frozen=True, slots=True)
class _RunningProgram:
    """One that somebody else started."""

    address: str

    def ready(self) -> dict[str, Any]:
        """As `_Program.ready`; where its metrics are is not known."""
        return {"address": self.address, "metrics_address": None}


class _Program:
    """One `python -m trunklined NAME`.

    It has a session of its own, so that Ctrl-C reaches it through its parent alone, and ends with its standard input,
    so that it does not outlive a parent that was killed.
    """

    def __init__(self, name: str, address: str, options: tuple[str, ...]) -> None:
        self.name = name
        self._options = options
        self._heard: deque[str] = deque(maxlen=_KEPT_LINES)
        self._asked = False
        self._start(address)

    def _start(self, address: str) -> None:
        self._facts: dict[str, Any] = {}
        self._told = threading.Event()
        words = ("--address", address, "--log-format", "json", "--end-with-stdin")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trunklined", self.name, *self._options, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._listener = threading.Thread(target=self._listen, name=f"log of {self.name}", daemon=True)
        self._listener.start()

    def restart(self) -> int:
        """Kills it with SIGKILL, and starts it again where it was. Returns the process id of the one that was killed.

        Raises:
            ProgramError: it did not come back.
        """
        pid, address = self._process.pid, str(self._facts["address"])
        self._kill()
        self._start(address)
        self.ready()
        return pid

    def ready(self) -> dict[str, Any]:
        """What it said when it began to serve: its addresses."""
        if not self._told.wait(START_SECONDS):
            raise ProgramError(f"the {self.name} was not ready after {START_SECONDS:.0f} s{self._last_words()}")
        if not self._facts:
            code = self._process.wait()
            raise ProgramError(f"the {self.name} could not start (exit code {code}){self._last_words()}")
        return self._facts

    def check(self) -> None:
        """Raises ProgramError where it has ended."""
        code = self._process.poll()
        if code is not None:
            raise ProgramError(f"the {self.name} ended by itself (exit code {code}){self._last_words()}")

    def ask_to_end(self) -> None:
        """Asks it once; it ends gracefully."""
        if not self._asked:
            self._asked = True
            self._process.send_signal(signal.SIGTERM)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends it gracefully; whatever interrupts the waiting ends it at once."""
        self.ask_to_end()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._kill()

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._listener.join(END_SECONDS)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._heard.append(line.rstrip())
                if not self._facts and '"event": "ready"' in line:
                    self._facts = json.loads(line)
                    self._told.set()
        self._told.set()

    def _last_words(self) -> str:
        return "".join(f"\n  {line}" for line in self._heard)
