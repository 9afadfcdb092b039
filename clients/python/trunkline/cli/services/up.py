"""`trunkline up`: bus, state and sidecar as three processes in one terminal."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

from trunkline.cli.exit_codes import FAILED, run
from trunkline.cli.output import print_json, safe, write_line
from trunkline.cli.services.children import Child, Facts
from trunkline.cli.services.serve import program_command
from trunkline.cli.settings import Settings, settings, with_settings
from trunkline.limits import DRAIN_SECONDS

METRICS: Final = {"bus": "127.0.0.1:9431", "state": "127.0.0.1:9432", "sidecar": "127.0.0.1:9433"}
JOURNAL: Final = "bus.db"
STORE: Final = "state.db"
"""The services' files in the data directory. They outlive this program."""
START_SECONDS: Final = 15.0
END_SECONDS: Final = DRAIN_SECONDS + 5.0
"""What a program gets to end before it is killed."""

_COLOURS = {"bus": "cyan", "state": "magenta", "sidecar": "green"}
_LEVELS = {"debug": "bright_black", "warning": "yellow", "error": "red", "critical": "red"}
_SHOWN_APART = frozenset({"event", "level", "time", "program", "exception"})


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".trunkline"),
    show_default=True,
    help="Where the journal, the store and the sidecar's sockets lie; made where it is missing.",
)
@click.option("--sidecar", metavar="ADDRESS", help="Where the sidecar serves. Default: unix:DATA/sidecar.sock.")
@click.option("--metrics", is_flag=True, help="Serve Prometheus metrics on the ports 9431 (bus), 9432, 9433.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@with_settings
def up(data: Path, sidecar: str | None, metrics: bool, log_level: str) -> None:
    """Runs bus, state and sidecar on this machine until Ctrl-C; their logs come out here.

    --bus and --state say where the two serve. Stored messages and records are kept in the data directory. If one
    program ends by itself, the others are ended too and the exit code is 1.
    """
    told = settings()
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    commands = _commands(told, data, sidecar)
    for name, command in commands.items():
        command += ["--log-level", log_level]
        if metrics:
            command += ["--metrics-address", METRICS[name]]
    run(_Terminal(told, data).run(commands), told)


def _commands(told: Settings, data: Path, sidecar: str | None) -> dict[str, list[str]]:
    # Paths stay as they were given: a UNIX socket's may have 107 bytes, and a relative one is short.
    options = {
        "bus": ["--address", told.bus, "--engine", "sqlite", "--path", f"{data / JOURNAL}"],
        "state": ["--address", told.state, "--engine", "sqlite", "--path", f"{data / STORE}"],
        "sidecar": [
            *("--address", sidecar or f"unix:{data / 'sidecar.sock'}"),
            *("--bus-address", told.bus, "--state-address", told.state),
            *("--socket-path", f"{data / 'channel.sock'}", "--store-path", f"{data / 'sidecar.db'}"),
        ],
    }
    return {name: [*program_command(name), *given] for name, given in options.items()}


class _Terminal:
    """The three programs and the terminal that they share."""

    def __init__(self, told: Settings, data: Path) -> None:
        self._told = told
        self._data = data
        self._children: list[Child] = []
        self._stop = asyncio.Event()

    async def run(self, commands: dict[str, list[str]]) -> int:
        """Until somebody asks for the end, or one program ends by itself."""
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(signum, self._on_signal)
        self._children = [Child(name, command, self._hear) for name, command in commands.items()]
        try:
            for child in self._children:
                await child.start()
            return await self._watch(began)
        finally:
            await self._end()

    async def _watch(self, began: float) -> int:
        """The exit code: 0 where somebody asked for the end."""
        ends = {child: asyncio.create_task(child.ended()) for child in self._children}
        ready = asyncio.create_task(self._all_ready(began))
        asked = asyncio.create_task(self._stop.wait())
        events: set[asyncio.Task[Any]] = {*ends.values(), ready, asked}
        try:
            done, _ = await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
            if done == {ready} and ready.exception() is None:
                await asyncio.wait(events - {ready}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                return 0
            for child, end in ends.items():
                if end.done():
                    self._say("error", f"{child.name} ended by itself ({_how(end.result())}); ending the others")
            if ready.done() and ready.exception() is not None:
                late = ", ".join(child.name for child in self._children if child.address is None)
                self._say("error", f"{late} not ready after {START_SECONDS:.0f} s; ending all")
            return FAILED
        finally:
            for task in events:
                task.cancel()

    async def _all_ready(self, began: float) -> None:
        async with asyncio.timeout(START_SECONDS):
            for child in self._children:
                await child.ready()
        where = ", ".join(f"{child.name} {child.address}" for child in self._children)
        self._say("info", f"ready in {time.perf_counter() - began:.1f} s: {where}")
        self._say("info", f"stored messages are kept in {self._data / JOURNAL}, records in {self._data / STORE}")

    def _on_signal(self) -> None:
        if self._stop.is_set():
            for child in self._children:
                child.send(signal.SIGKILL)
        self._stop.set()

    async def _end(self) -> None:
        """The sidecar first: it would take the others' end for a failure, and say so."""
        for group in (self._children[2:], self._children[:2]):
            for child in group:
                child.send(signal.SIGTERM)
            await self._wait(group)

    async def _wait(self, children: Sequence[Child]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                for child in children:
                    if child.runs:
                        await child.ended()
            return
        for child in children:
            if child.runs:
                self._say("warning", f"{child.name} does not end; killing it")
                child.send(signal.SIGKILL)
                await child.ended()

    def _say(self, level: str, text: str) -> None:
        if self._told.as_json:
            print_json({"program": "up", "level": level, "event": text})
        else:
            write_line(f"{click.style('trunkline', bold=True)} | {click.style(text, fg=_LEVELS.get(level), bold=True)}")

    def _hear(self, child: Child, heard: Facts | str) -> None:
        if self._told.as_json:
            print_json({"program": child.name, **(heard if isinstance(heard, dict) else {"event": heard})})
            return
        prefix = click.style(f"{child.name:<9}", fg=_COLOURS.get(child.name))
        lines = _lines(heard) if isinstance(heard, dict) else [safe(heard)]
        for line in lines:
            write_line(f"{prefix} | {line}")


def _lines(facts: Facts) -> list[str]:
    level = str(facts.get("level", "info"))
    event = click.style(safe(str(facts.get("event", ""))), fg=_LEVELS.get(level))
    rest = " ".join(
        f"{safe(name)}={safe(value if isinstance(value, str) else json.dumps(value, default=str))}"
        for name, value in facts.items()
        if name not in _SHOWN_APART and value is not None
    )
    clock = str(facts.get("time", ""))[11:23]
    trace = str(facts.get("exception", "")).splitlines()
    return [
        f"{clock} {level:<7} {event} {click.style(rest, dim=True)}".rstrip(),
        *(f"  {safe(line)}" for line in trace),
    ]


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
