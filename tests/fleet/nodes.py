"""Orchestrators that tests start as programs of their own, and what they say."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from tests.patience import PATIENCE
from trunkline.errors import StateDisconnectedError
from trunkline.orchestrator import Fleet
from trunkline.orchestrator.errors import from_answer

HEARTBEAT = {"heartbeat_interval": 0.25, "heartbeat_timeout": 3.0}
"""Of orchestrators, in tests that wait until one is taken for dead."""

Fact = dict[str, Any]
T = TypeVar("T")


async def seen(fleet: Fleet, is_right: Callable[[Fact], bool], why: str, within: float = PATIENCE) -> Fact:
    """Asks for `ps` until it is right, and returns it."""
    until = time.monotonic() + within
    ps: Fact = {}
    while time.monotonic() < until:
        with suppress(StateDisconnectedError):  # where the test has ended the store, it comes back
            ps = await fleet.ps()
            if is_right(ps):
                return ps
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {within:g} s: {why}; ps says {ps}")


class Node:
    """One orchestrator."""

    def __init__(self, name: str, bus: str, state: str, **config: Any) -> None:
        self.name = name
        self.log: list[str] = []
        self._events: list[Fact] = []
        self._answers: dict[int, Fact] = {}
        self._ids = itertools.count(1)
        self._said = threading.Condition()
        self._is_ready = False
        wish = {"name": name, "config": {"bus_address": bus, "state_address": state, **HEARTBEAT, **config}}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fleet.node", json.dumps(wish)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_log, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def wait_ready(self) -> Node:
        """Returns when it serves."""
        self._wait(lambda: self._is_ready, "be ready")
        return self

    # Calls.

    def call(self, name: str, *args: Any, **options: Any) -> Any:
        """Calls a method of the orchestrator; raises what it raised."""
        return self.begin(name, *args, **options)()

    def begin(self, name: str, *args: Any, **options: Any) -> Callable[[], Any]:
        """The same, and what is returned waits for it."""
        id = next(self._ids)
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"id": id, "call": name, "args": args, "options": options}) + "\n")
        self.process.stdin.flush()

        def wait() -> Any:
            self._wait(lambda: id in self._answers, f"answer {name}{args}")
            answer = self._answers[id]
            if "error" in answer:
                error = from_answer(answer["error"])
                error.add_note(
                    f"orchestrator {self.name}, {name}{args}; events: {self.events(agent=args[0] if args else None)}"
                )
                raise error
            return answer["result"]

        return wait

    # Events.

    def events(self, event: str | None = None, agent: str | None = None) -> list[Fact]:
        """What was told, of that kind and of that agent."""
        with self._said:
            told = list(self._events)
        return [each for each in told if event in (None, each["event"]) and agent in (None, each["agent"])]

    def counts(self, agent: str) -> Counter[str]:
        """How often each event of an agent was told."""
        return Counter(each["event"] for each in self.events(agent=agent))

    def wait_for(self, what: Callable[[], T], why: str) -> T:
        """Waits until something is true of what was told."""
        return self._wait(what, why)

    def received(self) -> list[tuple[str, str]]:
        """What its agents said that they received: who, and what."""
        told = self.events("AGENT_MESSAGE")
        return [(each["agent"], each["message"].removeprefix("got ")) for each in told]

    # Its process.

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def pause(self) -> None:
        """Holds it, as a machine that hangs would."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Shuts it down, or else makes sure that it is gone; idempotent."""
        if self.process.poll() is None:
            self.resume()
            assert self.process.stdin is not None
            self.process.stdin.close()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None and not stream.closed:
                stream.close()

    def _wait(self, what: Callable[[], T], why: str) -> T:
        with self._said:
            self._said.wait_for(lambda: what() or self.process.poll() is not None, PATIENCE)
            found = what()
        assert found, f"orchestrator {self.name} did not {why}; it said:\n{''.join(self.log)}"
        return found

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            with self._said:
                if "event" in said:
                    self._events.append({**said, "at": time.monotonic()})
                elif "answer" in said:
                    self._answers[said["answer"]] = said
                else:
                    self._is_ready = True
                self._said.notify_all()
        with self._said:
            self._said.notify_all()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        self.log.extend(self.process.stderr)
