"""`trunklined backup`: the command line.

Exit codes: 0 done; 1 refused or failed, and nothing is left of it; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from trunkline.cli.output import columns_of, counted
from trunkline.errors import StorageError, TrunklineError
from trunkline.text import safe_text
from trunklined.backup.checks import verify
from trunklined.backup.making import OVER_REDIS, make
from trunklined.backup.manifest import Contents
from trunklined.backup.restoring import restore

_FAILED, _INTERRUPTED = 1, 130


@click.group("backup")
def backup() -> None:
    """Copies what bus, state service and sidecar keep in their files, while they run, and puts it back."""


@backup.command()
@click.argument("data")
@click.argument("to", type=click.Path(path_type=Path))
def create(data: str, to: Path) -> None:
    """Copies all stores in the directory DATA into TO.

    TO is a new directory, which has its name when it is whole. All stores are copied as they were at one moment, and
    their services go on meanwhile. What was answered before the command began is in it.
    """
    with _telling():
        if "://" in data:
            scheme, _, rest = data.partition("://")
            raise StorageError(f"DATA is {scheme}://{rest.rpartition('@')[2]}, which is no directory: {OVER_REDIS}")
        contents = make(Path(data), to, _show_pages)
        _tell(f"{to} is a backup of {data}", contents)


@backup.command("verify")
@click.argument("source", metavar="FROM", type=click.Path(path_type=Path))
def verify_(source: Path) -> None:
    """Says whether the backup FROM is whole."""
    with _telling():
        _tell(f"{source} is whole", verify(source))


@backup.command("restore")
@click.argument("source", metavar="FROM", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
def restore_(source: Path, data: Path) -> None:
    """Copies the backup FROM into an empty DATA.

    DATA is a directory that is empty, or not there. The backup is verified first. Start the services then, with DATA
    as the place of their files.
    """
    with _telling():
        _tell(f"{data} is what {source} has", restore(source, data))


@contextmanager
def _telling() -> Iterator[None]:
    """Ends the process with one line where it is refused or fails."""
    try:
        yield
    except KeyboardInterrupt:
        _end("interrupted: nothing is left of it", _INTERRUPTED)
    except TrunklineError as error:
        _end(error.message, _FAILED)


def _end(reason: str, code: int) -> None:
    click.echo(safe_text(f"trunkline backup: {reason}"), err=True)
    sys.exit(code)


def _show_pages(name: str, copied: int, pages: int) -> None:
    if sys.stderr.isatty():
        click.echo(safe_text(f"\r{name}: {copied:,} of {counted(pages, 'page')}"), err=True, nl=copied == pages)


def _tell(verdict: str, contents: Contents) -> None:
    rows = [
        [
            each.file,
            each.program,
            str(each.schema_version),
            f"{each.last_commit:,}",
            f"{each.bytes:,}",
            each.sha256[:16],
        ]
        for each in contents.stores
    ]
    click.echo("\n".join(columns_of(("FILE", "OF", "SCHEMA", "LAST COMMIT", "BYTES", "SHA-256"), rows)))
    size = sum(each.bytes for each in contents.stores)
    click.echo(
        safe_text(f"{verdict}: {counted(len(rows), 'store')}, {counted(size, 'byte')}, as of {contents.taken_at}")
    )
