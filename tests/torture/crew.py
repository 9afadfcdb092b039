"""Crew: the programs and agents of a torture run, each a process that can be killed at any moment, also while it
starts, and comes back."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.patience import PATIENCE
from tests.programs import PYTHON, address_of, health, hold_port
from tests.redis.servers import SERVER
from tests.torture.agent import FINISH_SECONDS

STATE_REPLICAS: Final = 2
LEASE_SECONDS: Final = 2.0
"""Of the journal's ownership, and of a replica's part among the others."""

KILLED_OR_DONE: Final = frozenset((0, -signal.SIGKILL))
SAID_CHARACTERS = 4_000
"""What is told of a log at the most."""


@dataclass(slots=True)
class Member:
    """One process after the other under one name."""

    role: str
    name: str
    command: Sequence[str]
    log: Path
    may_end_with: frozenset[int] = KILLED_OR_DONE
    """Exit codes; another is a failure."""
    process: subprocess.Popen[bytes] | None = None
    kills: int = 0
    stops: int = 0
    back_at: float = 0.0
    """When it comes back, or goes on, by the monotonic clock; while it is down, or stands still."""
    is_still: bool = False
    failures: list[str] = field(default_factory=list)
    """Each time that it ended by itself."""

    def start(self) -> None:
        """Returns at once; it is not ready yet."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def is_up(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self, seconds_down: float) -> None:
        """Kills it; it is to come back later."""
        assert self.process is not None
        self.process.kill()
        self._end(self.process.wait(PATIENCE))
        self.kills += 1
        self.back_at = time.monotonic() + seconds_down

    def stop(self, seconds: float) -> None:
        """Lets it stand still, as a machine that hangs would; it is to go on later."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        self.is_still = True
        self.stops += 1
        self.back_at = time.monotonic() + seconds

    def look_after(self) -> None:
        """Starts it, or lets it go on, where its time has come; notes it where it ended by itself."""
        if self.is_still and self.process is not None and time.monotonic() >= self.back_at:
            self.process.send_signal(signal.SIGCONT)
            self.is_still = False
        if self.process is not None and self.process.poll() is not None:
            self._end(self.process.returncode)
        if self.process is None and time.monotonic() >= self.back_at:
            self.start()

    def finish(self) -> None:
        """Lets it end by itself: an agent by its standard input, when it has finished what it began."""
        if self.process is None:
            return
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            code = self.process.wait(FINISH_SECONDS + PATIENCE)
        except subprocess.TimeoutExpired:
            self.failures.append(f"{self.name} did not finish; it said:\n{self.said()}")
            self.process.kill()
            code = self.process.wait(PATIENCE)
        self._end(code)

    def said(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-SAID_CHARACTERS:]

    def _end(self, code: int) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process = None
        self.is_still = False
        self.back_at = time.monotonic() + 1.0
        if code not in self.may_end_with:
            self.failures.append(f"{self.name} ended by itself with code {code}; it said:\n{self.said()}")


class Crew:
    """All members, with everything that they keep in one directory. A context: it leaves no process behind.

    Args:
        directory: an empty one, with a name that is short enough for UNIX sockets.
        replicas: how many buses share one journal in a Redis that syncs each write, which is a member too, and
            `STATE_REPLICAS` state services one store there. 0: one of each, over files.
    """

    def __init__(self, directory: Path, replicas: int = 0) -> None:
        self.directory = directory
        self.replicas = replicas
        self._ports: list[socket.socket] = []
        """Held, so that whoever is down comes back where it was."""
        self.bus_addresses = [self._address() for _ in range(replicas or 1)]
        self.state_addresses = [self._address() for _ in range(STATE_REPLICAS if replicas else 1)]
        self.sidecar_address = f"unix:{directory}/sidecar.sock"
        self.members: list[Member] = []
        bus: tuple[str, ...] = ("--path", f"{directory}/bus.db")
        state: tuple[str, ...] = ("--path", f"{directory}/state.db")
        if replicas:
            state = ("--engine", "redis", "--redis-url", f"redis://127.0.0.1:{self._redis()}")
            lease = str(LEASE_SECONDS)
            bus = (*state, "--journal-lease-seconds", lease, "--replica-ttl", lease)
        for address in self.bus_addresses:
            self._service("bus", address, *bus)
        for address in self.state_addresses:
            self._service("state", address, *state)
        upstreams = ("--bus-address", self.bus_address, "--state-address", self.state_address)
        store = ("--store-path", f"{directory}/sidecar.db")
        self._service("sidecar", self.sidecar_address, "--socket-path", "", *store, *upstreams)

    @property
    def bus_address(self) -> str:
        """Of the first bus."""
        return self.bus_addresses[0]

    @property
    def state_address(self) -> str:
        """Of the first state service."""
        return self.state_addresses[0]

    def _address(self) -> str:
        self._ports.append(hold_port())
        return address_of(self._ports[-1])

    def _redis(self) -> str:
        """A Redis that syncs each write before it answers; returns its port."""
        port = self._address().rpartition(":")[2]
        where = ("--bind", "127.0.0.1", "--port", port, "--dir", str(self.directory))
        keeps = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")
        self._add("redis", "redis", (SERVER, *where, *keeps))
        return port

    def _service(self, role: str, address: str, *options: str) -> None:
        words = ("trunklined", role, "--address", address, "--log-format", "json", "--end-with-stdin", *options)
        count = len(self.having(role))
        self._add(role, f"{role}-{count}" if count else role, (*PYTHON, *words))

    def add_agent(
        self, module: str, name: str, *words: str, role: str = "", may_end_with: frozenset[int] = KILLED_OR_DONE
    ) -> Member:
        """One more agent, of a module with the role's name, if nothing else is said; its ledger's path comes behind
        `words`."""
        command = (*PYTHON, f"tests.torture.{module}", *words, str(self.ledger_of(name)))
        member = self._add(role or module, name, command)
        member.may_end_with = may_end_with
        return member

    def _add(self, role: str, name: str, command: Sequence[str]) -> Member:
        member = Member(role, name, command, self.directory / f"{name}.log")
        self.members.append(member)
        return member

    def ledger_of(self, name: str) -> Path:
        """Where an agent writes down what it saw."""
        return self.directory / f"{name}.jsonl"

    def ledgers(self) -> list[Path]:
        """Those of all agents."""
        return sorted(self.directory.glob("*.jsonl"))

    def having(self, *roles: str) -> list[Member]:
        """The members of these roles."""
        return [member for member in self.members if member.role in roles]

    def bring_up(self, *roles: str) -> None:
        """Starts those of these roles that are down; services are ready on return."""
        for member in self.having(*roles):
            member.back_at = 0.0
            member.look_after()
        for role, service, address in self._services():
            if role in roles:
                _await_serving(address, service)

    def _services(self) -> Iterator[tuple[str, str, str]]:
        """The role, what it serves, and the address of each."""
        yield from (("bus", "trunkline.v1.BusService", address) for address in self.bus_addresses)
        yield from (("state", "trunkline.v1.StateService", address) for address in self.state_addresses)
        yield "sidecar", "", self.sidecar_address

    def finish(self, *roles: str) -> None:
        """Lets those of these roles end by themselves."""
        for member in self.having(*roles):
            if member.process is not None and member.process.stdin is not None:
                member.process.stdin.close()  # all at once: they finish side by side
        for member in self.having(*roles):
            member.finish()

    def failures(self) -> list[str]:
        """What ended by itself, or did not finish."""
        return [text for member in self.members for text in member.failures]

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self.members:
            if member.is_up:
                member.kill(0.0)
        for port in self._ports:
            port.close()


def _await_serving(address: str, service: str) -> None:
    """Returns when what a program serves can be used."""
    end = time.monotonic() + PATIENCE
    while health(address, service) != "SERVING":
        assert time.monotonic() < end, f"{address} never served"
        time.sleep(0.05)
