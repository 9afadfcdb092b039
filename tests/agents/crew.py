"""Agents that the tests start. Those for processes are found here by the process that unpickles them."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from trunkline.agents import (
    BaseAgent,
    BaseProcessAgent,
    BaseThreadAgent,
    LoopingAgent,
    LoopingProcessAgent,
    LoopingThreadAgent,
    PeriodicAgent,
    PeriodicProcessAgent,
    PeriodicThreadAgent,
    RecoverableError,
)


class Diarist(BaseAgent):
    """Writes down what it does, in a file that the test reads."""

    diary: str

    def note(self, what: str) -> None:
        with Path(self.diary).open("a", encoding="utf-8") as file:
            file.write(what + "\n")


def read(diary: Path) -> list[str]:
    """What was written down."""
    return diary.read_text().splitlines() if diary.exists() else []


class Worker(Diarist):
    """Does each step of its life, and fails in the one that `fails_in` names."""

    fails_in = ""
    returns: Any = None

    def step(self, name: str) -> None:
        self.note(name)
        if self.fails_in == name:
            raise ValueError(f"no {name} today")

    def setup(self) -> None:
        super().setup()
        self.step("setup")

    def execute(self) -> Any:
        super().execute()  # type: ignore[safe-super]  # programs do so, and it is fine
        self.step("execute")
        return self.returns

    def on_close(self) -> None:
        super().on_close()
        self.step("on_close")


class ThreadWorker(Worker, BaseThreadAgent):
    pass


class ProcessWorker(Worker, BaseProcessAgent):
    pass


class Waiter(Diarist):
    """Executes until it is asked to stop."""

    def execute(self) -> str:
        self.note(f"execute {self.pid}")
        self.stop_event.wait()
        return "stopped" if self.control_events.stop_event.is_set() else "never"

    def on_stop(self) -> None:
        super().on_stop()
        self.note(f"on_stop {threading.current_thread().name}")

    def on_close(self) -> None:
        self.note("on_close")


class ThreadWaiter(Waiter, BaseThreadAgent):
    pass


class ProcessWaiter(Waiter, BaseProcessAgent):
    pass


class Counter(Diarist, LoopingAgent):
    """Counts its turns; stops itself after the `last` one, and stumbles in those that `bad` names."""

    last = -1
    bad: tuple[int, ...] = ()

    def setup(self) -> None:
        self.count = 0

    def cycle(self) -> None:
        super().cycle()  # type: ignore[safe-super]
        self.count += 1
        self.result = self.count
        if self.count == self.last:
            self.stop()
        if self.count in self.bad:
            raise RecoverableError(f"turn {self.count} was bad")

    def on_close(self) -> None:
        self.note(f"{self.count} turns")


class ThreadCounter(Counter, LoopingThreadAgent):
    pass


class ProcessCounter(Counter, LoopingProcessAgent):
    pass


class Ticker(Diarist, PeriodicAgent):
    """Writes down when it runs; each run takes `takes` seconds."""

    takes = 0.0

    def runner(self) -> None:
        super().runner()  # type: ignore[safe-super]
        self.note(f"{time.monotonic():.4f}")
        time.sleep(self.takes)


class ThreadTicker(Ticker, PeriodicThreadAgent):
    pass


class ProcessTicker(Ticker, PeriodicProcessAgent):
    pass


class Quitter(BaseAgent):
    """Leaves its process or thread as its `how` says."""

    how: Any = None

    def execute(self) -> None:
        if self.how == "abruptly":
            os._exit(3)
        sys.exit(self.how)


class ThreadQuitter(Quitter, BaseThreadAgent):
    pass


class ProcessQuitter(Quitter, BaseProcessAgent):
    pass


class Unpicklable(BaseProcessAgent):
    """Holds what no other process can have."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lock = threading.Lock()

    def execute(self) -> None:
        return


class Lingerer(BaseProcessAgent):
    """Its life is over, but a thread of its own keeps its process."""

    def execute(self) -> None:
        threading.Thread(target=time.sleep, args=(300,)).start()


class Answerer(BaseThreadAgent):
    """Answers what it is sent, until it is asked to stop."""

    def execute(self) -> None:
        while not self.stop_event.is_set():
            if (message := self.msg_channel.receive(0.05)) is not None:
                self.msg_channel.reply(message, message)
