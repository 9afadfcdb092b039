"""Programs: bus, state and sidecar as child processes of this one, each alone or together as a stack.

    with trunkline.LocalStack() as stack, trunkline.sync.MessageBus(stack.bus_address) as bus:
        bus.publish("greetings", message)

A program never outlives its parent: it ends with its standard input, also where the parent is killed. It has a session
of its own, so that a terminal's Ctrl-C reaches it through its parent alone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, Self

from trunkline.addresses import MAX_PORT, UNIX, check_address, host_and_port
from trunkline.errors import TrunklineError
from trunkline.limits import DRAIN_SECONDS

log = logging.getLogger(__name__)

ProgramName = Literal["bus", "state", "sidecar"]
PROGRAMS: Final[tuple[ProgramName, ...]] = ("bus", "state", "sidecar")

FREE_PORT: Final = "127.0.0.1:0"
"""An address whose port the program chooses."""

START_SECONDS: Final = 15.0
"""Within which a program must be ready."""

END_SECONDS: Final = DRAIN_SECONDS + 5.0
"""Within which a program must end after SIGTERM; then it is killed."""

LOG_LINES: Final = 20
"""The last lines of a program's log that are kept, unless another number is given."""

LINE_BYTES: Final = 1024 * 1024
"""A longer line of a log comes in pieces."""

JOURNAL: Final = "bus.db"
STORE: Final = "state.db"
"""The files of bus and state in the data directory of a local stack."""


class ProgramError(TrunklineError):
    """A program did not start, was not ready in time, or ended by itself. The message has the end of its log."""

    error_code = "PROGRAM_FAILED"


def program_command(name: str, module: str = "trunklined") -> list[str]:
    """Returns the command line of a program: run by this interpreter, whatever the PATH says."""
    return [sys.executable, "-m", module, name]


class Program:
    """One program as a child process. Safe to use from several threads.

    Args:
        name: bus, state or sidecar.
        options: of its command line (`trunkline serve bus --help` lists them).
        label: what it is called in errors, logs and threads. Default: its name.
        address: where it serves. A restart keeps the port that was chosen for port 0.
        module: what is run as `python -m`.
        env: variables beside those of this process.
        cwd: its working directory. Default: this process's.
        log_lines: how many lines of its log are kept, the last ones; None: all.
        on_line: called with the program and each line of its log, in a thread of this program.
        changed: notified when the program is ready, and when it has ended. Default: a condition of its own.
    """

    def __init__(
        self,
        name: str,
        *options: str,
        label: str | None = None,
        address: str = FREE_PORT,
        module: str = "trunklined",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        log_lines: int | None = LOG_LINES,
        on_line: Callable[[Program, str], object] | None = None,
        changed: threading.Condition | None = None,
    ) -> None:
        self.name = name
        self.label = label or name
        self.address = address
        self.metrics_address: str | None = None
        """Where it serves its Prometheus page; None without one, and until it is ready."""
        self.log: deque[str] = deque(maxlen=log_lines)
        """The last lines of its log, without their ends."""
        self._command = (*program_command(name, module), *options)
        self._env = {**os.environ, **(env or {})}
        self._cwd = cwd
        self._on_line = on_line
        self._changed = changed or threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._is_ready = self._has_ended = self._is_stopping = False

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that runs, or ran last. Raises RuntimeError before the first start."""
        if self._process is None:
            raise RuntimeError(f"the {self.label} was never started")
        return self._process

    @property
    def pid(self) -> int:
        """The id of that process."""
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, below 0 the signal that ended it; None while it runs."""
        return self.process.poll()

    @property
    def is_ready(self) -> bool:
        """Whether it has begun to serve since its last start."""
        return self._is_ready

    @property
    def has_failed(self) -> bool:
        """Whether it has ended by itself; its log is complete then."""
        return self._has_ended and not self._is_stopping

    def start(self) -> Self:
        """Starts the process; `wait_ready` waits until it serves."""
        if self._process is not None and self.exit_code is None:
            raise RuntimeError(f"the {self.label} runs already")
        self._is_ready = self._has_ended = False
        self._process = subprocess.Popen(
            [*self._command, "--address", self.address, "--log-format", "json", "--end-with-stdin"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._env,
            cwd=self._cwd,
            start_new_session=True,
        )
        self._is_stopping = False  # not before: the process that was killed has not failed
        self._reader = threading.Thread(target=self._read, args=(self._process,), name=f"log of {self.label}")
        self._reader.daemon = True
        self._reader.start()
        return self

    def wait_ready(self, timeout: float = START_SECONDS) -> None:
        """Waits until it serves; `address` and `metrics_address` are known then.

        Raises:
            ProgramError: it ended, or was not ready within `timeout` seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._is_ready or self._has_ended, timeout)
        self.require_ready(timeout)

    def require_ready(self, waited: float) -> None:
        """Raises ProgramError where it does not serve after so many seconds."""
        if self._has_ended and not self._is_ready:
            raise ProgramError(f"the {self.label} could not start (exit code {self.exit_code}){self._last_words()}")
        if not self._is_ready:
            raise ProgramError(f"the {self.label} was not ready after {waited:.0f} s{self._last_words()}")

    def check(self) -> None:
        """Raises ProgramError where it has ended by itself."""
        if self.exit_code is not None and not self._is_stopping:
            self._join()
            raise ProgramError(f"the {self.label} ended by itself (exit code {self.exit_code}){self._last_words()}")

    def terminate(self) -> None:
        """Sends SIGTERM once (a second one would cut its end short), and does not wait."""
        if not self._is_stopping:
            self._is_stopping = True
            self.process.terminate()

    def stop(self, timeout: float = END_SECONDS) -> int:
        """Ends it by SIGTERM, and by SIGKILL where it runs for `timeout` seconds more, or the waiting is interrupted.
        Idempotent. Returns the exit code."""
        self.terminate()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            log.warning("%s does not end; killing it", self.label)
        finally:
            self.kill()
        return self.process.returncode

    def kill(self) -> None:
        """Ends it by SIGKILL, as a crash would, and waits for its end. Idempotent."""
        self._is_stopping = True
        self.process.kill()
        self.process.wait()
        self._join()

    def restart(self) -> None:
        """Kills it if it runs, starts it again on the same address with the same options, and waits until it serves.

        Raises:
            ProgramError: it did not come back.
        """
        self.kill()
        self.start()
        self.wait_ready()

    def _join(self) -> None:
        """Frees what an ended process took, behind the last line of its log."""
        assert self._reader is not None
        self._reader.join(END_SECONDS)
        assert self.process.stdin is not None
        with suppress(OSError):  # nothing is ever written to it
            self.process.stdin.close()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as pipe:
            while line := pipe.readline(LINE_BYTES):
                self._take(line.decode("utf-8", "replace").rstrip("\n"))
        process.wait()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def _take(self, line: str) -> None:
        if self._on_line is not None:
            try:
                self._on_line(self, line)
            except Exception:  # a program whose log is not read would stand still
                log.exception("on_line failed for a line of %s", self.label)
        with self._changed:
            self.log.append(line)
            if not self._is_ready and '"event": "ready"' in line:
                facts: dict[str, Any] = json.loads(line)
                self.address, self.metrics_address = facts["address"], facts["metrics_address"]
                self._is_ready = True
            self._changed.notify_all()

    def _last_words(self) -> str:
        return "".join(f"\n  {line}" for line in list(self.log)[-LOG_LINES:])


class Stack(ABC):
    """Programs that are started together and end together. A context, `with` or `async with`; at its end they are gone.

    Args:
        data: the directory of their files, made where there is none; it is left as it is at the end. None: one that is
            deleted at the end.
        log_lines: how many lines of each program's log are kept, the last ones; None: all.
        on_line: called with the program and each line of its log, in a thread for each program.
    """

    def __init__(
        self,
        data: str | Path | None,
        log_lines: int | None = LOG_LINES,
        on_line: Callable[[Program, str], object] | None = None,
    ) -> None:
        self.programs: dict[str, Program] = {}
        """The handles of the programs that were started, by label."""
        self._data = Path(data) if data is not None else None
        self._log_lines = log_lines
        self._on_line = on_line
        self._changed = threading.Condition()
        self._scratch: TemporaryDirectory[str] | None = None
        self._is_stopped = False

    @abstractmethod
    def _plan(self) -> Iterator[Program]:
        """Makes the programs; each is started before the next is asked for."""

    @property
    def socket_path(self) -> Path:
        """The UNIX socket on which the sidecar takes lines of JSON."""
        return self._folder / "channel.sock"

    def start(self) -> None:
        """Starts the programs, and returns when all serve. `stop` ends them, also where this raises. A stack is started
        once.

        Raises:
            ProgramError: one could not start, or was not ready within 15 seconds.
        """
        if self.programs:
            raise RuntimeError("a local stack is started once")
        if self._data is not None:
            self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        for program in self._plan():
            with self._changed:
                if self._is_stopped:
                    raise ProgramError(f"the {program.label} could not start: the stack was stopped")
                program.start()
                self.programs[program.label] = program
        self._wait_ready()

    def wait(self) -> Program | None:
        """Waits until a program ends by itself, and returns it; None when the stack is stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped or self._failed() is not None)
            return self._failed()

    def check(self) -> None:
        """Raises ProgramError where a program has ended by itself."""
        for program in self.programs.values():
            program.check()

    def stop(self) -> None:
        """Ends all programs, those that do not end in time by SIGKILL. Idempotent; from another thread it ends `start`
        and `wait` too."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        try:
            # The sidecar first: it would take the others' end for a failure, and say so.
            for group in (("sidecar",), ("bus", "state")):
                programs = [program for program in self.programs.values() if program.name in group]
                for program in programs:
                    program.terminate()
                for program in programs:
                    program.stop()
        finally:
            self.kill()
            if self._scratch is not None:
                self._scratch.cleanup()

    def kill(self) -> None:
        """Ends all programs at once, by SIGKILL."""
        for program in self.programs.values():
            program.kill()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        starting = asyncio.create_task(asyncio.to_thread(self.start))
        try:
            await asyncio.shield(starting)
        except BaseException:
            await asyncio.to_thread(self.stop)
            with suppress(ProgramError):  # the programs were ended under it
                await starting
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.to_thread(self.stop)

    @property
    def _folder(self) -> Path:
        if self._data is not None:
            return self._data
        if self._scratch is None:
            self._scratch = TemporaryDirectory(prefix="trunkline-")
        return Path(self._scratch.name)

    def _new(
        self,
        name: ProgramName,
        address: str,
        *options: str,
        label: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Program:
        return Program(
            name,
            *options,
            label=label,
            address=address,
            env=env,
            log_lines=self._log_lines,
            on_line=self._on_line,
            changed=self._changed,
        )

    def _new_sidecar(self, address: str | None, bus: str, state: str, options: Sequence[str]) -> Program:
        own = (
            *("--bus-address", bus, "--state-address", state),
            *("--socket-path", f"{self.socket_path}", "--store-path", f"{self._folder / 'sidecar.db'}"),
        )
        return self._new("sidecar", address or f"unix:{self._folder / 'sidecar.sock'}", *own, *options)

    def _awaits_addresses(self) -> bool:
        """Whether the next program cannot be started yet: the port of one that it needs is not chosen."""
        return any(not program.is_ready and program.address.endswith(":0") for program in self.programs.values())

    def _wait_ready(self) -> None:
        def is_decided() -> bool:
            return all(each.is_ready for each in self.programs.values()) or self._failed() is not None

        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped or is_decided(), START_SECONDS)
        for program in sorted(self.programs.values(), key=lambda each: not each.has_failed):
            program.require_ready(START_SECONDS)

    def _failed(self) -> Program | None:
        return next((program for program in self.programs.values() if program.has_failed), None)


class LocalStack(Stack):
    """Bus, state and sidecar on this machine, for tests and for work without a deployment.

        with trunkline.LocalStack() as stack:
            bus = trunkline.GrpcMessageBus(stack.bus_address)
            state = trunkline.GrpcStateManager(stack.state_address)

    A context in which the programs run, `with` or `async with`; at its end they are gone. `programs["bus"]` is the
    handle of one, to kill it as a crash would, and to restart it.

    Args:
        data: the directory of their files, made where there is none; it is left as it is at the end. None: bus and
            state keep everything in memory, and what the sidecar needs lies in a directory that is deleted at the end.
        programs: which are started.
        bus_address, state_address: where bus and state serve; default a free port. Of one that is not started: where it
            runs already, for the sidecar.
        sidecar_address: where the sidecar serves; default a UNIX socket in the directory. A socket's path may have 107
            bytes.
        options: more options of the command line, by program.
        log_lines: how many lines of each program's log are kept, the last ones; None: all.
        on_line: called with the program and each line of its log, in a thread for each program.

    Raises:
        ValueError: an address is none.
        ProgramError: on entry; a program could not start, or was not ready within 15 seconds.
    """

    def __init__(
        self,
        data: str | Path | None = None,
        *,
        programs: Collection[ProgramName] = ("bus", "state"),
        bus_address: str = FREE_PORT,
        state_address: str = FREE_PORT,
        sidecar_address: str | None = None,
        options: Mapping[ProgramName, Sequence[str]] | None = None,
        log_lines: int | None = LOG_LINES,
        on_line: Callable[[Program, str], object] | None = None,
    ) -> None:
        super().__init__(data, log_lines, on_line)
        _check(bus_address, state_address, sidecar_address)
        self._names = [name for name in PROGRAMS if name in programs]
        self._addresses: dict[ProgramName, str | None] = {
            "bus": bus_address,
            "state": state_address,
            "sidecar": sidecar_address,
        }
        self._options = options or {}

    @property
    def bus_address(self) -> str:
        """Where the bus serves."""
        return self._address("bus")

    @property
    def state_address(self) -> str:
        """Where the state service serves."""
        return self._address("state")

    @property
    def sidecar_address(self) -> str:
        """Where the sidecar serves."""
        return self._address("sidecar")

    def _plan(self) -> Iterator[Program]:
        for name in self._names:
            if name != "bus" and self._awaits_addresses():
                self._wait_ready()
            options = self._options.get(name, ())
            if name == "sidecar":
                yield self._new_sidecar(self._addresses[name], self.bus_address, self.state_address, options)
            else:
                yield self._new(name, self._addresses[name] or FREE_PORT, *self._options_of(name), *options)

    def _address(self, name: ProgramName) -> str:
        program = self.programs.get(name)
        address = program.address if program is not None else self._addresses[name]
        if address is None or (program is None and name in self._names):
            raise RuntimeError(f"the {name} was not started")
        return address

    def _options_of(self, name: ProgramName) -> Sequence[str]:
        upstream = ("--bus-address", self.bus_address) if name == "state" and self._has_bus() else ()
        if self._data is None:
            return ("--engine", "memory", *upstream)
        file = self._data / (JOURNAL if name == "bus" else STORE)
        return ("--engine", "sqlite", "--path", f"{file}", *upstream)

    def _has_bus(self) -> bool:
        """Whether there is a bus for the messages of writes: one that is started, or whose address was given."""
        return "bus" in self._names or self._addresses["bus"] != FREE_PORT


class RedisStack(Stack):
    """Several replicas of bus and state over one Redis, and a sidecar, which forwards to the first of each; for people
    who try that on one machine. The replicas are labelled bus-1, bus-2, …; where there is one of each, bus and state.

    Args:
        redis_url: where Redis is. It is told to the programs by their environment, which others do not see.
        replicas: how many of each.
        data: the directory of the sidecar's files.
        bus_address, state_address: where the first of each serves; the others at the next free ports behind them.
        sidecar_address: where the sidecar serves; default a UNIX socket in the directory.
        metrics: where metrics are served by name, of the first of each; the others at the next free ports. Default:
            nowhere.
        options: more options of the command line, of each program.
        on_line: see `Stack`.

    Raises:
        ValueError: an address is none.
        ProgramError: as `LocalStack`.
    """

    def __init__(
        self,
        redis_url: str,
        replicas: int,
        data: Path,
        *,
        bus_address: str,
        state_address: str,
        sidecar_address: str | None = None,
        metrics: Mapping[ProgramName, str] | None = None,
        options: Sequence[str] = (),
        on_line: Callable[[Program, str], object] | None = None,
    ) -> None:
        super().__init__(data, on_line=on_line)
        _check(bus_address, state_address, sidecar_address)
        self._redis_url = redis_url
        self._replicas = replicas
        self._sidecar_address = sidecar_address
        self._common = options
        self._addresses = _spread({"bus": bus_address, "state": state_address}, replicas)
        self._metrics_addresses = _spread(metrics or {}, replicas)

    def _plan(self) -> Iterator[Program]:
        buses, states = [], []
        for number in range(self._replicas):
            buses.append(self._new_replica("bus", number))
            yield buses[-1]
            if number == 0 or self._awaits_addresses():
                self._wait_ready()  # where Redis is not there, one line of one program is enough
            states.append(self._new_replica("state", number, "--bus-address", buses[-1].address))
            yield states[-1]
            self._wait_ready()  # all at once, many would not be ready in time
        yield self._new_sidecar(
            self._sidecar_address, buses[0].address, states[0].address, self._options_of("sidecar", 0)
        )

    def _new_replica(self, name: ProgramName, number: int, *options: str) -> Program:
        return self._new(
            name,
            self._addresses[name][number],
            *("--engine", "redis", *options, *self._options_of(name, number)),
            label=f"{name}-{number + 1}" if self._replicas > 1 else name,
            env={f"TRUNKLINE_{name.upper()}_REDIS_URL": self._redis_url},
        )

    def _options_of(self, name: ProgramName, number: int) -> Sequence[str]:
        if name not in self._metrics_addresses:
            return self._common
        return (*self._common, "--metrics-address", self._metrics_addresses[name][number])


def _check(*addresses: str | None) -> None:
    for address in addresses:
        if address is not None:
            check_address(address)


def _spread(first: Mapping[ProgramName, str], count: int) -> dict[ProgramName, list[str]]:
    """Returns so many addresses for each program: the first as it is given, the others on the next ports that are free
    and that no other one here has; of a UNIX socket, on sockets beside it."""
    taken = {host_and_port(address)[1] for address in first.values() if not address.startswith(UNIX)}
    addresses = {name: [address] for name, address in first.items()}
    for number in range(2, count + 1):
        for name, address in first.items():
            addresses[name].append(_another(address, number, taken))
    return addresses


def _another(address: str, number: int, taken: set[int]) -> str:
    if address.startswith(UNIX):
        return f"{address}-{number}"
    host, port = host_and_port(address)
    if port == 0:
        return address
    found = next((each for each in range(port + 1, MAX_PORT + 1) if each not in taken and _is_free(host, each)), 0)
    taken.add(found)
    return f"{address.rpartition(':')[0]}:{found}"


def _is_free(host: str, port: int) -> bool:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError:
        return True  # the program that shall serve there says what is wrong
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one whose last connections are just over is free
        try:
            probe.bind(where)
        except OSError:
            return False
    return True
