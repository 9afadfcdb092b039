"""`trunkline certs`: a development authority and certificates, to try TLS with."""

from __future__ import annotations

from pathlib import Path

import click

from trunkline.cli.exit_codes import FAILED, tell
from trunkline.cli.output import print_json, print_table
from trunkline.cli.settings import settings, with_settings
from trunkline.errors import TrunklineError


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--name", "names", multiple=True, metavar="HOST", help="A host or an address of the services; repeatable."
)
@click.option(
    "--client", "clients", multiple=True, metavar="NAME", help="A client to make a certificate for; repeatable."
)
@click.option("--days", type=click.FloatRange(0, 3650, min_open=True), default=365, show_default=True)
@with_settings
def certs(directory: Path, names: tuple[str, ...], clients: tuple[str, ...], days: float) -> None:
    """Makes an authority for development in DIR, and certificates for services and clients.

    An authority that is there signs on; other certificates are replaced. Without --name, services are called at
    localhost, 127.0.0.1 and ::1. Keys are for their owner alone (mode 0600).
    """
    from trunkline.tls.certificates import DEFAULT_NAMES, write_certificates

    chosen = settings()
    try:
        written = write_certificates(directory, names or DEFAULT_NAMES, clients, days)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except TrunklineError as error:
        tell(error, chosen)
        raise SystemExit(FAILED) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or directory}: {error.strerror or error}") from error
    rows = [(each.name, str(each.certificate), str(each.key), f"{each.ends:%Y-%m-%d}") for each in written]
    if chosen.as_json:
        for row in rows:
            print_json(dict(zip(("name", "certificate", "key", "ends"), row, strict=True)))
    else:
        print_table(("name", "certificate", "key", "ends"), rows)
