"""`trunkline up`: bus, state and sidecar as processes in one terminal, or replicas of them over Redis."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from trunkline.cli.exit_codes import FAILED, run
from trunkline.cli.output import print_json, safe, write_line
from trunkline.cli.settings import Settings, settings, with_settings
from trunkline.programs import (
    JOURNAL,
    PROGRAMS,
    START_SECONDS,
    STORE,
    LocalStack,
    Program,
    ProgramError,
    ProgramName,
    RedisStack,
    Stack,
)

METRICS: Final[dict[ProgramName, str]] = {
    "bus": "127.0.0.1:9431",
    "state": "127.0.0.1:9432",
    "sidecar": "127.0.0.1:9433",
}

MAX_REPLICAS: Final = 16
INVALID: Final = 2
"""The exit code of settings that cannot be taken, of a program and so of this."""

_COLOURS = {"bus": "cyan", "state": "magenta", "sidecar": "green"}
_LEVELS = {"debug": "bright_black", "warning": "yellow", "error": "red", "critical": "red"}
_SHOWN_APART = frozenset({"event", "level", "time", "program", "exception"})


Facts = dict[str, Any]


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".trunkline"),
    show_default=True,
    help="Where the journal, the store and the sidecar's sockets lie; made where it is missing.",
)
@click.option("--sidecar", metavar="ADDRESS", help="Where the sidecar serves. Default: unix:DATA/sidecar.sock.")
@click.option(
    "--metrics",
    is_flag=True,
    help="Serve Prometheus metrics on the ports 9431 (bus), 9432, 9433; of further replicas on the next free ones.",
)
@click.option(
    "--redis",
    metavar="URL",
    envvar="TRUNKLINE_REDIS",
    help="Keep all in this Redis, such as redis://localhost:6379/0, in place of the data directory. A password rather"
    " by the variable: an option shows in the list of processes. [TRUNKLINE_REDIS]",
)
@click.option(
    "--replicas",
    type=click.IntRange(1, MAX_REPLICAS),
    metavar="N",
    help=f"With --redis: so many buses and state services, at most {MAX_REPLICAS}; the first on the usual ports, the"
    " others on the next free ones. [1]",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
@with_settings
def up(data: Path, sidecar: str | None, metrics: bool, redis: str | None, replicas: int | None, log_level: str) -> None:
    """Runs bus, state and sidecar on this machine until Ctrl-C; their logs come out here.

    --bus and --state say where the two serve. Stored messages and records are kept in the data directory, or with
    --redis there. If one program ends by itself, the others are ended too; the exit code is 1, or 2 where its settings
    could not be taken, such as the URL of a Redis that does not answer.
    """
    if replicas is not None and not redis:
        raise click.UsageError("--replicas needs --redis URL: several replicas keep what they share in one Redis")
    chosen = settings()
    where = METRICS if metrics else {}

    def make(on_line: Callable[[Program, str], None]) -> Stack:
        """Makes the stack; its data directory as it was given: a UNIX socket's path may have 107 bytes, and a relative
        one is short."""
        common = ["--log-level", log_level]
        if redis:
            return RedisStack(
                redis,
                replicas or 1,
                data,
                bus_address=chosen.bus,
                state_address=chosen.state,
                sidecar_address=sidecar,
                metrics=where,
                options=common,
                on_line=on_line,
            )
        return LocalStack(
            data,
            programs=PROGRAMS,
            bus_address=chosen.bus,
            state_address=chosen.state,
            sidecar_address=sidecar,
            options={name: [*common, *(("--metrics-address", where[name]) if where else ())] for name in PROGRAMS},
            on_line=on_line,
        )

    kept = (
        f"stored messages and records are kept in Redis ({_without_password(redis)}), as its settings say"
        if redis
        else f"stored messages are kept in {data / JOURNAL}, records in {data / STORE}"
    )
    run(_Terminal(chosen, make, kept).run(), chosen)


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


class _Terminal:
    """The programs and the terminal that they share.

    Args:
        make: makes their stack, which calls what it is given with each line of a program's log.
        kept: says where their data are.
    """

    def __init__(self, chosen: Settings, make: Callable[[Callable[[Program, str], None]], Stack], kept: str) -> None:
        self._as_json = chosen.as_json
        self._kept = kept
        self._stack = make(self._show)
        self._stop = asyncio.Event()
        self._writing = threading.Lock()
        self._broken: BrokenPipeError | None = None
        """Set when the reader of this output has gone, as `head` does."""
        self._failure = FAILED
        """The exit code where a program ends by itself."""

    async def run(self) -> int:
        """Runs the programs until a signal comes or one of them ends by itself. Returns the exit code."""
        self._loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._loop.add_signal_handler(signum, self._on_signal)
        running = asyncio.create_task(asyncio.to_thread(self._run_stack))
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
            is_asked = stopping.done()
        finally:
            stopping.cancel()
            await asyncio.to_thread(self._stack.stop)
            await running
        if self._broken is not None:
            raise self._broken
        return 0 if is_asked else self._failure

    def _run_stack(self) -> None:
        """Starts the programs, and returns when one has failed or the stack is stopped. Runs in a thread."""
        began = time.perf_counter()
        try:
            self._stack.start()
        except ProgramError:
            self._report_failure()
            return
        where = ", ".join(f"{label} {program.address}" for label, program in self._stack.programs.items())
        self._report("info", f"ready in {time.perf_counter() - began:.1f} s: {where}")
        self._report("info", self._kept)
        if self._stack.wait() is not None:
            self._report_failure()

    def _report_failure(self) -> None:
        if self._stop.is_set():
            return
        programs = self._stack.programs.values()
        failed = [program for program in programs if program.has_failed]
        for program in failed:
            self._report("error", f"{program.label} ended by itself ({_how(program)}); ending the others")
            if program.exit_code == INVALID:
                self._failure = INVALID
        if not failed:
            late = ", ".join(program.label for program in programs if not program.is_ready)
            self._report("error", f"{late} not ready after {START_SECONDS:.0f} s; ending all")

    def _on_signal(self) -> None:
        """Ends the programs gracefully at the first signal, and at once at the next."""
        if self._stop.is_set():
            self._stack.kill()
        self._stop.set()

    def _report(self, level: str, text: str) -> None:
        """Writes a line of `trunkline up` itself."""
        line = f"{click.style('trunkline', bold=True)} | {click.style(text, fg=_LEVELS.get(level), bold=True)}"
        self._write({"program": "up", "level": level, "event": text}, [line])

    def _show(self, program: Program, line: str) -> None:
        """Writes a line of a program's log. Runs in a thread of that program."""
        facts = _facts(line)
        prefix = click.style(f"{program.label:<9}", fg=_COLOURS.get(program.name))
        lines = _lines(facts) if facts is not None else [safe(line)]
        self._write(
            {"program": program.label, **(facts if facts is not None else {"event": line})},
            [f"{prefix} | {each}" for each in lines],
        )

    def _write(self, facts: Facts, lines: Sequence[str]) -> None:
        with self._writing:
            if self._broken is not None:
                return
            try:
                if self._as_json:
                    print_json(facts)
                    return
                for line in lines:
                    write_line(line)
            except BrokenPipeError as error:
                self._broken = error
                self._loop.call_soon_threadsafe(self._stop.set)


def _facts(line: str) -> Facts | None:
    """Returns the fields of a JSON log line; None of another line."""
    try:
        facts = json.loads(line)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) else None


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


def _how(program: Program) -> str:
    code = program.exit_code
    assert code is not None
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
