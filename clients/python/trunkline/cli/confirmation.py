"""Asking before something is removed for good."""

from __future__ import annotations

import sys

import click

from trunkline.cli.exit_codes import FAILED, INTERRUPTED

yes_option = click.option("--yes", is_flag=True, help="Do not ask. Needed where there is no terminal.")


def check_can_ask(command: str, *, yes: bool) -> None:
    """Raises click.UsageError where there is no terminal to ask on, and --yes was not given."""
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"{command} needs --yes here: there is no terminal on which to ask")


def ask(question: str, *, yes: bool) -> None:
    """Returns where the answer is yes, or --yes was given; else ends the process, with exit code 1 for a no."""
    if yes:
        return
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort:
        click.echo(err=True)
        sys.exit(INTERRUPTED)
    if not agreed:
        click.echo("nothing was done", err=True)
        sys.exit(FAILED)
