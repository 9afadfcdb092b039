"""Agents for tests of supervision; those of `tests.agents.crew` do the rest."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from trunkline.agents import AgentConfig, BaseAgent, BaseProcessAgent, BaseThreadAgent
from trunkline.message_channel import ServiceMessage

QUICK = AgentConfig(heartbeat_interval=0.2, heartbeat_timeout=3.0, stop_timeout=1.0)
"""What is heard often, and soon missed."""

PATIENT = AgentConfig(heartbeat_interval=1.0, heartbeat_timeout=60.0, stop_timeout=30.0)
"""What a slow machine cannot make look hung."""


class Waiter(BaseAgent):
    """Waits until it is asked to stop."""

    def execute(self) -> None:
        self.stop_event.wait()


class ThreadWaiter(Waiter, BaseThreadAgent):
    pass


class ProcessWaiter(Waiter, BaseProcessAgent):
    pass


class Deaf(BaseAgent):
    """Does not heed that it shall stop; ends when the `file` is there."""

    file = ""

    def execute(self) -> None:
        while not self.file or not Path(self.file).exists():
            time.sleep(0.01)


class DeafThread(Deaf, BaseThreadAgent):
    pass


class DeafProcess(Deaf, BaseProcessAgent):
    pass


class NeverReady(BaseAgent):
    """Its setup does not end."""

    def setup(self) -> None:
        self.stop_event.wait()

    def execute(self) -> None:
        return


class NeverReadyThread(NeverReady, BaseThreadAgent):
    pass


class NeverReadyProcess(NeverReady, BaseProcessAgent):
    pass


class Trouble(BaseAgent):
    """Fails where `at` says, as often as the `file` is short of `times` lines; then waits until it is asked to stop."""

    at = ""
    how = "raise"
    file = ""
    times = 1_000_000

    def _trouble(self, at: str) -> None:
        if self.at != at or self._lives() > self.times:
            return
        if self.how == "os._exit":
            os._exit(7)
        if self.how == "sys.exit":
            sys.exit("enough")
        if self.how == "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError(f"trouble in {at}")

    def _lives(self) -> int:
        if not self.file:
            return 1
        return len(Path(self.file).read_text().splitlines())

    def setup(self) -> None:
        if self.file:
            with Path(self.file).open("a") as file:
                file.write(f"{time.monotonic()}\n")
        self._trouble("setup")

    def execute(self) -> None:
        self._trouble("execute")
        if self.at != "on_close":
            self.stop_event.wait()

    def on_close(self) -> None:
        self._trouble("on_close")


class ThreadTrouble(Trouble, BaseThreadAgent):
    pass


class ProcessTrouble(Trouble, BaseProcessAgent):
    pass


class CannotBeMade(BaseThreadAgent):
    """Its constructor fails."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        raise RuntimeError("trouble in __init__")

    def execute(self) -> None:
        return


class SlowToMake(BaseAgent):
    """Its constructor takes until `go_on` is set."""

    def __init__(self, *args: Any, go_on: threading.Event, **kwargs: Any) -> None:
        go_on.wait()
        super().__init__(*args, **kwargs)

    def execute(self) -> None:
        self.stop_event.wait()


class SlowThread(SlowToMake, BaseThreadAgent):
    pass


class SlowProcess(SlowToMake, BaseProcessAgent):
    pass


class Done(BaseAgent):
    """Does its work at once; tells what it was given."""

    returns: Any = None

    def execute(self) -> Any:
        return self.returns


class ThreadDone(Done, BaseThreadAgent):
    pass


class ProcessDone(Done, BaseProcessAgent):
    pass


class Flood(BaseProcessAgent):
    """Says much to its orchestrator, until it is asked to stop."""

    def execute(self) -> None:
        number = 0
        while not self.stop_event.is_set():
            number += 1
            self.send_message(ServiceMessage(self.name, "STATUS", f"{number} bottles of beer"))


class Pausing(BaseThreadAgent):
    """One step, whose heartbeats stop with it, until `go_on` is set; then it waits until it is asked to stop."""

    go_on: threading.Event

    def execute(self) -> None:
        self.go_on.wait()


class Parent(BaseProcessAgent):
    """Has a child that keeps what it inherits open; writes its pid to the `file`."""

    file = ""

    def execute(self) -> None:
        if os.fork() == 0:
            time.sleep(300)
            os._exit(0)
        self.stop_event.wait()


class StuckOnStop(BaseThreadAgent):
    """`on_stop` takes until `go_on` is set."""

    go_on: threading.Event

    def execute(self) -> None:
        self.stop_event.wait()

    def on_stop(self) -> None:
        self.go_on.wait()
