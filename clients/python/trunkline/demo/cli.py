"""`trunkline demo`."""

from __future__ import annotations

import json
import logging
import signal
import sys
from pathlib import Path
from typing import Final, NoReturn

import click

from trunkline import TrunklineError
from trunkline.cli.exit_codes import FAILED, INTERRUPTED, exit_code, tell
from trunkline.cli.settings import Settings, settings, with_settings
from trunkline.demo.limits import MAX_AGENTS, MAX_FILES, RUN_SECONDS
from trunkline.demo.narrator import LOG_FORMAT, Narrator
from trunkline.demo.programs import Running
from trunkline.demo.report import Report
from trunkline.demo.run import RunOptions, run
from trunkline.demo.sources import Sources, default_folder, find
from trunkline.demo.tables import show
from trunkline.programs import ProgramError

_AGENTS: Final = click.IntRange(0, MAX_AGENTS)


@click.command("demo")
@click.argument(
    "folder", metavar="[DIR]", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--agents-threads", "threads", type=_AGENTS, default=2, show_default=True, help="Coding agents as threads."
)
@click.option(
    "--agents-processes", "processes", type=_AGENTS, default=2, show_default=True, help="Coding agents as processes."
)
@click.option("--no-kill", is_flag=True, help="Let all live. Else one agent and the bus are killed half-way.")
@click.option("--max-files", type=click.IntRange(1), default=MAX_FILES, show_default=True, help="Files at the most.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=RUN_SECONDS,
    show_default=True,
    help="Seconds of work.",
)
@click.option("--sidecar", metavar="ADDRESS", help="A sidecar that runs; needs --socket too.")
@click.option("--socket", metavar="PATH", help="The UNIX socket on which that sidecar takes lines of JSON.")
@with_settings
def command(
    folder: Path | None,
    threads: int,
    processes: int,
    no_kill: bool,
    max_files: int,
    timeout: float,
    sidecar: str | None,
    socket: str | None,
) -> None:
    """Shows real work flowing through the three programs.

    A coordinator stores a task for each file of DIR (default: Trunkline's own sources) on the bus; coding agents
    measure the files; review agents check the totals and store what they approve. Agents run as threads, as processes,
    and one as a program of its own that writes lines of JSON on a UNIX socket. Half-way one agent is killed, and the
    bus itself: it comes back with all that it had, others do that agent's work, and nothing is lost.

    Bus, state and sidecar are started for the run and ended with it, but those that run already and are named by
    --bus, --state, or --sidecar with --socket.

    Exit code 0 only if every file was done exactly once in the stored results; else 1.
    """
    chosen = settings()
    if bool(sidecar) != bool(socket):
        raise click.UsageError("--sidecar and --socket belong together")
    sources = find((folder or default_folder()).resolve(), max_files)
    if not sources.paths:
        raise click.UsageError(f"there is no source file in {sources.root}")
    running = Running(chosen.given("bus"), chosen.given("state"), sidecar, socket)
    _end_as_interrupted_by(signal.SIGTERM)
    sys.exit(_run(sources, RunOptions(threads, processes, not no_kill, timeout), running, chosen))


def main() -> None:
    """`python -m trunkline.demo`."""
    command(prog_name="python -m trunkline.demo")


def _run(sources: Sources, options: RunOptions, running: Running, chosen: Settings) -> int:
    narrator = Narrator(chosen.as_json)
    logging.basicConfig(level=logging.ERROR, format=LOG_FORMAT)  # a lost connection is a warning, and no news here
    left_out = f" (the first; {sources.beyond} more are left out, see --max-files)" if sources.beyond else ""
    narrator.say(f"Trunkline: {len(sources.paths)} files of {sources.root}{left_out}", "bold")
    try:
        report = run(sources, options, running, narrator)
    except ProgramError as error:
        narrator.fail(str(error))
        return FAILED
    except TrunklineError as error:
        tell(error, chosen)
        return exit_code(error)
    except KeyboardInterrupt:
        narrator.fail("interrupted; everything that was started is ended")
        return INTERRUPTED
    _print(report, narrator, chosen)
    return 0 if report.is_good else FAILED


def _print(report: Report, narrator: Narrator, chosen: Settings) -> None:
    if chosen.as_json:
        click.echo(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        show(report, narrator.console)


def _end_as_interrupted_by(signum: signal.Signals) -> None:
    """A request to end is taken like Ctrl-C: everything is cleaned up."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signum, interrupt)
