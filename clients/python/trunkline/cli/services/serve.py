"""`trunkline serve`, `trunkline backup`, `trunkline migrate` and `trunkline access`: become one of the programs, or a
tool of theirs; `trunkline health`."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from trunkline.cli.services import probe
from trunkline.programs import PROGRAMS, program_command


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("program", type=click.Choice(PROGRAMS))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def serve(program: str, options: tuple[str, ...]) -> None:
    """Runs PROGRAM until SIGTERM or SIGINT; `trunkline serve bus --help` lists its options."""
    _become([*program_command(program), *options])


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []}, options_metavar="COMMAND [OPTIONS]"
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def backup(arguments: tuple[str, ...]) -> None:
    """Copies what services keep in files while they run, and puts it back; `trunkline backup --help` says how."""
    _become([*program_command("backup"), *arguments])


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []}, options_metavar="SERVICE [OPTIONS]"
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def migrate(arguments: tuple[str, ...]) -> None:
    """Copies what bus or state keeps from its file into Redis, or back; `trunkline migrate --help` says how."""
    _become([*program_command("migrate"), *arguments])


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []}, options_metavar="COMMAND [OPTIONS]"
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def access(arguments: tuple[str, ...]) -> None:
    """Makes tokens, and says what an access file allows; `trunkline access --help` says how."""
    _become([*program_command("access"), *arguments])


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def health(arguments: tuple[str, ...]) -> None:
    """Asks a program whether it takes calls; `trunkline health --help` says how."""
    sys.exit(probe.main(arguments))


def _become(command: list[str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)
