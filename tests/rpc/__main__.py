"""`python -m tests.rpc greeter …`: the greeter as a program, with the same life as the real ones."""

from __future__ import annotations

import asyncio
import sys

import click

from tests.rpc.greeter import GreeterProgram
from trunkline.errors import StorageError, TrunklineError
from trunklined.rpc import logging, server
from trunklined.rpc.config import ServerSettings


@click.command()
@click.argument("name")
@click.option("--address")
@click.option("--log-format", default="json")
@click.option("--metrics-address", default="")
@click.option("--drain-seconds", default=5.0)
@click.option("--unready-seconds", default=0.0)
@click.option("--end-with-stdin", is_flag=True)
@click.option("--fails", is_flag=True)
@click.option("--drains-never", is_flag=True)
def main(name: str, fails: bool, drains_never: bool, **options: object) -> None:
    settings = ServerSettings.model_validate(options)
    logging.set_up(settings)
    program = GreeterProgram(StorageError("the file is damaged") if fails else None, drains=not drains_never)
    try:
        asyncio.run(server.run(program, settings))
    except TrunklineError as error:
        click.echo(f"{name}: {error.message}; closed {program.closed} time(s)", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
