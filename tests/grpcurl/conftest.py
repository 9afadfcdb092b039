"""grpcurl, run for real: for people who have nothing but that."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

TOOLS = Path(__file__).parents[2] / ".tools" / "bin"
SECONDS = 30

Grpcurl = Callable[..., "Said"]
StartStream = Callable[[str, str, Any], "Stream"]


class Said:
    """What one call of grpcurl said."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    def json(self) -> Any:
        """Its one answer."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    def error(self) -> dict[str, Any]:
        """Of a refused call: status, message, and the one ErrorInfo, as `-format-error` gives them."""
        assert self.code != 0, self.out
        status = json.loads(self.err)
        (detail,) = status["details"]
        assert detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
        assert detail["domain"] == "trunkline"
        return {
            "code": status["code"],
            "message": status["message"],
            "reason": detail["reason"],
            "metadata": detail.get("metadata", {}),
        }


@pytest.fixture(scope="session")
def binary() -> str:
    """The program: from the PATH or where `make test` installs it."""
    found = shutil.which("grpcurl", path=f"{os.environ.get('PATH', '')}{os.pathsep}{TOOLS}")
    assert found, "grpcurl is missing: `make test` installs it, or `python scripts/tools.py grpcurl`"
    return found


@pytest.fixture
def grpcurl(binary: str) -> Grpcurl:
    """`grpcurl(address, "trunkline.v1.BusService/Publish", {...})`, `grpcurl(address, "describe", None, name)`."""

    def call(address: str, verb: str, body: Any = None, *rest: str) -> Said:
        given = ["-plaintext", "-format-error", "-max-time", str(SECONDS)]
        if body is not None:
            given += ["-d", "@"]
        done = subprocess.run(
            [binary, *given, address, verb, *rest],
            input=json.dumps(body, ensure_ascii=False),
            capture_output=True,
            text=True,
            timeout=SECONDS + 10,
            check=False,
        )
        return Said(done)

    return call


class Stream:
    """A call of grpcurl that goes on."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._decoder = json.JSONDecoder()

    def next(self) -> Any:
        """The next answer: grpcurl prints them one behind the other, each over some lines."""
        assert self._process.stdout is not None
        text = ""
        while line := self._process.stdout.readline():
            text += line
            if line == "}\n":
                return json.loads(text)
        raise AssertionError(f"the stream ended: {self._process.stderr.read() if self._process.stderr else ''}")


@pytest.fixture
def stream(binary: str) -> Iterator[StartStream]:
    """Starts a streaming call with one request, or with a list of them, after which grpcurl half-closes."""
    started: list[subprocess.Popen[str]] = []

    def start(address: str, method: str, body: Any) -> Stream:
        frames = "\n".join(map(json.dumps, body if isinstance(body, list) else [body]))
        process = subprocess.Popen(
            [binary, "-plaintext", "-d", frames, address, method],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return Stream(process)

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def channel() -> str:
    """One that no other test uses."""
    return f"test:{uuid4().hex}"


@pytest.fixture
def name() -> str:
    """Of a durable subscription that no other test uses."""
    return f"durable-{uuid4().hex}"


@pytest.fixture(params=["direct", "sidecar"])
def bus(request: pytest.FixtureRequest) -> str:
    """The BusService: itself, and through the sidecar."""
    name = "bus_address" if request.param == "direct" else "sidecar_address"
    return str(request.getfixturevalue(name))


@pytest.fixture(params=["direct", "sidecar"])
def state(request: pytest.FixtureRequest) -> str:
    """The StateService: itself, and through the sidecar."""
    name = "state_address" if request.param == "direct" else "sidecar_address"
    return str(request.getfixturevalue(name))
