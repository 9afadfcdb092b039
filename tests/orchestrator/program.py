"""An orchestrator in a process of its own: see `served`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.channel.clients import LineClient, line

END_SECONDS = 60.0

Agent = tuple[str, str, dict[str, Any]]
"""Its name, its class in `sample_agents`, and what it is registered with."""

Serve = Callable[..., "ServedOrchestrator"]


class ServedOrchestrator:
    """Started and ready; it ends with this process at the latest."""

    def __init__(self, directory: Path, until: Mapping[str, str] | None = None, **wish: Any) -> None:
        self.socket = wish["socket"] = str(directory / wish.get("socket", "o.sock"))
        self.log = Path(f"{self.socket}.log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.orchestrator.served", json.dumps(wish)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=Path(__file__).parents[2],
                env={name: value for name, value in os.environ.items() if name != "TRUNKLINE_SOCKET"},
            )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            self.end()
            raise AssertionError(f"the orchestrator did not start; it said:\n{self.log.read_text()}")
        for name, state in (until or {}).items():
            self.wait_until(name, state)

    def ask(self, command: str, *args: Any) -> dict[str, Any]:
        """The answer to one command, over a connection of its own."""
        with LineClient(self.socket) as client:
            return ask(client, command, *args)

    def wait_until(self, name: str, state: str) -> None:
        """Returns when an agent stands there."""
        end = time.monotonic() + END_SECONDS
        with LineClient(self.socket) as client:
            while (found := ask(client, "status", name)["data"]["state"]) != state:
                assert time.monotonic() < end, f"{name} is {found}, not {state}"
                time.sleep(0.01)

    def stop(self) -> int:
        """Ends it with its agents; its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(END_SECONDS)

    def end(self) -> None:
        """Makes sure that it is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(END_SECONDS)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def ask(client: LineClient, command: str, *args: Any) -> dict[str, Any]:
    """The answer to one command, in the seed's dialect."""
    client.send(line(json.dumps({"command": command, "args": args})))
    answer: dict[str, Any] = json.loads(client.read()["payload"])
    return answer


@contextmanager
def serving(directory: Path) -> Iterator[Serve]:
    """`serve(agents=[("a", "Ticking", {})], start=["a"], config={"max_workers": 2}, until={"a": "ready"})` starts one
    that ends with the test; `registered=3` registers agent-00000 to agent-00002 besides, or with another `prefix`."""
    served: list[ServedOrchestrator] = []

    def serve(**wish: Any) -> ServedOrchestrator:
        served.append(ServedOrchestrator(directory, **wish))
        return served[-1]

    try:
        yield serve
    finally:
        for each in served:
            each.end()
