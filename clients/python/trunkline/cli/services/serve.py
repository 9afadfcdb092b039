"""`trunkline serve`: becomes one of the programs."""

from __future__ import annotations

import os
import sys

import click

from trunkline.programs import PROGRAMS, program_command


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("program", type=click.Choice(PROGRAMS))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def serve(program: str, options: tuple[str, ...]) -> None:
    """Runs PROGRAM until SIGTERM or SIGINT; `trunkline serve bus --help` lists its options."""
    command = [*program_command(program), *options]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)
