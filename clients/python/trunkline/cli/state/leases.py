"""`trunkline state leases` and `trunkline state agents`: who holds what, and who is there."""

from __future__ import annotations

import click

from trunkline.cli.clients import state_client
from trunkline.cli.exit_codes import run
from trunkline.cli.output import print_json, print_table, safe, write_line
from trunkline.cli.settings import settings, with_settings
from trunkline.cli.state.kinds import LEASE_COLUMNS, PRESENCE_COLUMNS, describe, row_of
from trunkline.errors import RecordNotFoundError


@click.group()
@with_settings
def leases() -> None:
    """Shows and ends leases: names that one holder at a time has."""


@leases.command("list")
@with_settings
def list_() -> None:
    """Lists the leases that are held, in order of their names."""
    _show(None)


@leases.command()
@click.argument("name")
@with_settings
def show(name: str) -> None:
    """Shows one lease. Exit code 3 where nobody holds it."""
    _show(name)


def _show(name: str | None) -> None:
    chosen = settings()

    async def main() -> None:
        async with state_client(chosen, wait_for_ready=True) as manager:
            found = await manager.list_leases(name=name)
        if name is not None and not found:
            raise _nobody(name)
        if chosen.as_json:
            for lease in found:
                print_json(describe(lease))
        else:
            print_table(LEASE_COLUMNS, map(row_of, found), right=frozenset({"number", "ttl", "remaining"}))

    run(main(), chosen)


@leases.command()
@click.argument("name")
@click.option("--number", type=click.IntRange(1), help="Only if it is held with this number.")
@with_settings
def release(name: str, number: int | None) -> None:
    """Ends a lease, whoever holds it, and the records that are bound to it. Exit code 3 where nobody holds it."""
    chosen = settings()

    async def main() -> None:
        async with state_client(chosen, wait_for_ready=True) as manager:
            held = number
            if held is None:
                found = await manager.list_leases(name=name)
                if not found:
                    raise _nobody(name)
                held = found[0].number
            await manager.release_lease(name, held)
        if chosen.as_json:
            print_json({"name": name, "number": held, "released": True})
        else:
            write_line(f"released {safe(name)}, which was held with number {held}")

    run(main(), chosen)


def _nobody(name: str) -> RecordNotFoundError:
    return RecordNotFoundError(f"nobody holds the lease {name!r}", details={"kind": "lease", "id": name})


@click.group()
@with_settings
def agents() -> None:
    """Shows which agents are there."""


@agents.command()
@click.option("--capability", help="Only those that can do this.")
@click.option("--type", help="Only of this type.")
@click.option("--status", help="Only with this status.")
@with_settings
def find(capability: str | None, type: str | None, status: str | None) -> None:
    """Lists the agents that are there and match, in order of their ids."""
    chosen = settings()

    async def main() -> None:
        async with state_client(chosen, wait_for_ready=True) as manager:
            found = await manager.find_agents(capability=capability, type=type, status=status)
        if chosen.as_json:
            for presence in found:
                print_json(describe(presence))
        else:
            print_table(PRESENCE_COLUMNS, map(row_of, found), right=frozenset({"revision"}))

    run(main(), chosen)
