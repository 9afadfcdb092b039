"""Child processes of `trunkline up`: started, followed, and never left behind."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Sequence
from typing import Any, Final

LINE_BYTES: Final = 1024 * 1024
"""The longest log line that is taken in one piece."""

Facts = dict[str, Any]
Hear = Callable[["Child", Facts | str], None]


class Child:
    """One program. Its logs are heard line by line: as facts where the line is JSON, else as text.

    It has a session of its own, so that Ctrl-C reaches it through its parent alone, and ends with its standard input,
    so that it does not outlive a parent that was killed.
    """

    def __init__(self, name: str, command: Sequence[str], hear: Hear) -> None:
        self.name = name
        self.address: str | None = None
        self._command = [*command, "--log-format", "json", "--end-with-stdin"]
        self._hear = hear
        self._process: asyncio.subprocess.Process | None = None
        self._following: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    async def start(self) -> None:
        """Starts it; `ready` and `ended` say what became of it."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=LINE_BYTES,
        )
        self._following = asyncio.create_task(self._follow(self._process))

    async def ready(self) -> None:
        """Returns when it serves. Never where it does not."""
        await self._ready.wait()

    async def ended(self) -> int:
        """Returns its exit code (below 0: the signal that ended it) behind the last line of its log."""
        assert self._process is not None
        assert self._following is not None
        code = await self._process.wait()
        await self._following
        return code

    @property
    def runs(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.returncode is None

    def send(self, signum: signal.Signals) -> None:
        """Sends a signal, where there is somebody to take it."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signum)

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:  # over LINE_BYTES: the reader has dropped what it held of it
                continue
            if not line:
                return
            heard = _facts(line)
            if isinstance(heard, dict) and heard.get("event") == "ready":
                self.address = heard.get("address")
                self._ready.set()
            self._hear(self, heard)


def _facts(line: bytes) -> Facts | str:
    text = line.decode("utf-8", "replace").rstrip("\n")
    try:
        facts = json.loads(text)
    except ValueError:
        return text
    return facts if isinstance(facts, dict) else text
