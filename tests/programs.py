"""Programs that tests start as processes of their own: ready when started, and never left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.patience import PATIENCE
from trunkline.addresses import TLS, without_tls
from trunkline.programs import FREE_PORT, Program, ProgramError
from trunkline.tls.options import Tls

PYTHON = (sys.executable, "-m")


def hold_port() -> socket.socket:
    """Returns a socket that holds a free port of 127.0.0.1: a program may serve there, and the system gives the port to
    nobody else, also while the program is not running."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # it never listens, so another that says so may
    held.bind(("127.0.0.1", 0))
    return held


def address_of(held: socket.socket) -> str:
    """Where a program serves on a port that is held."""
    return f"127.0.0.1:{held.getsockname()[1]}"


class RunningProgram(Program):
    """One program of `python -m trunklined` (or another module) as a child process, with all of its log. Its port is
    its own until it is ended, so that it can be started again there.

    Args:
        tls: what its health is asked with, where it serves TLS.
    """

    def __init__(
        self, name: str, *options: str, address: str = FREE_PORT, tls: Tls | None = None, **words: Any
    ) -> None:
        self._tls = tls
        self._changed = threading.Condition()
        self._held = hold_port() if address == FREE_PORT else None
        where = address if self._held is None else address_of(self._held)
        super().__init__(name, *options, address=where, log_lines=None, changed=self._changed, **words)

    def start(self) -> Self:
        """Starts it and returns when its health says SERVING; a restart keeps the address."""
        super().start()
        try:
            self.wait_ready(PATIENCE)
        except ProgramError:
            self.kill()
            raise
        assert health(self.address, tls=self._tls) == "SERVING"
        return self

    def output(self) -> str:
        """All that it wrote."""
        return "\n".join(list(self.log))

    def events(self) -> list[dict[str, Any]]:
        """Its log lines."""
        return [json.loads(line) for line in list(self.log) if line.startswith("{")]

    def wait_for(self, words: str, timeout: float = PATIENCE) -> None:
        """Returns when a log line holds these words."""
        with self._changed:
            found = self._changed.wait_for(lambda: any(words in line for line in self.log), timeout)
        assert found, f"{self.name} never wrote {words!r}; its log:\n{self.output()}"

    def pause(self) -> None:
        """Holds it, as a machine that hangs would."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Makes sure that it is gone."""
        if self._process is not None:
            self.kill()
        if self._held is not None:
            self._held.close()


def sync_channel(address: str, tls: Tls | None = None) -> grpc.Channel:
    """A channel of gRPC's synchronous face."""
    if not address.startswith(TLS):
        return grpc.insecure_channel(address)
    assert tls is not None, f"{address} needs what TLS is to trust"
    read = tls.load()
    key, chain = (read.pair.key, read.pair.certificate) if read.pair else (None, None)
    return grpc.secure_channel(without_tls(address), grpc.ssl_channel_credentials(read.authorities, key, chain))


def health(address: str, service: str = "", timeout: float = PATIENCE, tls: Tls | None = None) -> str:
    """What a program's health says of a service, such as "SERVING"."""
    with sync_channel(address, tls) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout, wait_for_ready=True)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def run_program(*arguments: str, module: str = "trunklined", **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program that is expected to end by itself, and returns its exit code and output."""
    return subprocess.run(
        [*PYTHON, module, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, **environment},
    )


def command(arguments: Sequence[str]) -> list[str]:
    """A command line that runs the `trunkline` command in a process of its own."""
    return [*PYTHON, "trunkline.cli", *arguments]
