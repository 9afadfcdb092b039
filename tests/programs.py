"""Programs that tests start as processes of their own: ready when started, and never left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

START_SECONDS = 15.0
END_SECONDS = 10.0
PYTHON = (sys.executable, "-m")


class RunningProgram:
    """One program of `python -m trunklined` (or another module) as a child process.

    It ends with its standard input, so that it does not outlive even a test run that is killed.
    """

    def __init__(
        self,
        name: str,
        *options: str,
        address: str = "127.0.0.1:0",
        module: str = "trunklined",
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.address = address
        self.metrics_address: str | None = None
        self.log: list[str] = []
        self._command = (*PYTHON, module, name)
        self._options = options
        self._env = {**os.environ, **(env or {})}
        self._cwd = cwd
        self._said = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    @property
    def process(self) -> subprocess.Popen[str]:
        """The process that runs, or ran last."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self) -> RunningProgram:
        """Starts it and returns when its health says SERVING; a restart keeps the address."""
        assert self._process is None or self._process.poll() is not None, f"{self.name} runs already"
        options = ("--address", self.address, "--log-format", "json", "--end-with-stdin", *self._options)
        self._process = subprocess.Popen(
            [*self._command, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=self._env,
            cwd=self._cwd,
        )
        ready = threading.Event()
        facts: dict[str, Any] = {}
        self._reader = threading.Thread(target=self._read, args=(self._process, ready, facts), daemon=True)
        self._reader.start()
        if not ready.wait(START_SECONDS) or not facts:
            self.end()
            raise AssertionError(f"{self.name} did not start; it said:\n{self.output()}")
        self.address, self.metrics_address = facts["address"], facts["metrics_address"]
        assert health(self.address) == "SERVING"
        return self

    def _read(self, process: subprocess.Popen[str], ready: threading.Event, facts: dict[str, Any]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                with self._said:
                    self.log.append(line)
                    self._said.notify_all()
                if not facts and '"event": "ready"' in line:
                    facts |= json.loads(line)
                    ready.set()
        ready.set()

    def output(self) -> str:
        """All that it wrote on standard error."""
        return "".join(self.log)

    def events(self) -> list[dict[str, Any]]:
        """Its log lines."""
        return [json.loads(line) for line in list(self.log) if line.startswith("{")]

    def wait_for(self, words: str, timeout: float = END_SECONDS) -> None:
        """Returns when a log line holds these words."""
        with self._said:
            told = self._said.wait_for(lambda: any(words in line for line in self.log), timeout)
        assert told, f"{self.name} never said {words!r}; it said:\n{self.output()}"

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        self.process.kill()
        self._wait()

    def stop(self) -> int:
        """Ends it gracefully by SIGTERM; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self._wait()

    def restart(self) -> RunningProgram:
        """Kills it if it runs, and starts it again on the same address."""
        if self.process.poll() is None:
            self.kill()
        return self.start()

    def pause(self) -> None:
        """Holds it, as a machine that hangs would."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Makes sure that it is gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        if self._process is not None:
            self._wait()

    def _wait(self) -> int:
        code = self.process.wait(END_SECONDS)
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self._reader is not None:
            self._reader.join(END_SECONDS)
        return code


def health(address: str, service: str = "", timeout: float = START_SECONDS) -> str:
    """What a program's health says of a service, such as "SERVING"."""
    with grpc.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout, wait_for_ready=True)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def run_program(*arguments: str, module: str = "trunklined", **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program that is expected to end by itself, and returns what it said."""
    return subprocess.run(
        [*PYTHON, module, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
        env={**os.environ, **environment},
    )


def command(arguments: Sequence[str]) -> list[str]:
    """A command line that runs the `trunkline` command in a process of its own."""
    return [*PYTHON, "trunkline.cli", *arguments]
