"""`trunklined access`: makes static tokens, and says what an access file allows.

Exit codes: 0 done, or allowed; 1 denied; 2 the file or the question cannot be taken.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from trunkline.channels import check_name, check_pattern
from trunkline.errors import TrunklineError
from trunkline.text import safe_text
from trunklined.access.access_file import read_policy
from trunklined.access.rights import ALL, INSPECTED, RIGHTS, Form, Need
from trunklined.access.tokens import make_token

_VARIABLES = ["TRUNKLINE_ACCESS_FILE", "TRUNKLINE_BUS_ACCESS_FILE", "TRUNKLINE_STATE_ACCESS_FILE"]


@click.group("access")
def access() -> None:
    """Makes tokens, and says what an access file allows."""


@access.command()
@click.argument("name")
def token(name: str) -> None:
    """Makes a token for NAME: prints it on the first line, and on the second the line for the token file of services.

    The token is shown once, and kept nowhere.
    """
    try:
        made, line = make_token(name)
    except TrunklineError as error:
        _refuse(error.message)
    click.echo(f"{made}\n{line}")


@access.command()
@click.option("--file", "path", envvar=_VARIABLES, required=True, show_envvar=True, metavar="FILE", type=Path)
@click.option("--as", "identity", required=True, metavar="NAME", help="Who asks: a name, uid:NUMBER or anonymous.")
@click.argument("right", type=click.Choice([*RIGHTS, "on_behalf_of"]), metavar="RIGHT")
@click.argument("object", default="", metavar="[OBJECT]")
def check(path: Path, identity: str, right: str, object: str) -> None:
    """Says whether NAME may RIGHT on OBJECT, and which line of the file says so.

    RIGHT is as in the file: publish, subscribe, request, respond, tasks.submit, durable.join, dead_letters.redrive,
    records.write, leases.acquire, inspect, on_behalf_of ... OBJECT is a channel or a pattern, a name, KIND/ID of a
    record, or list, stats, reflection. Of names and ids, * means all there are.
    """
    try:
        policy = read_policy(path)
        permissions = policy.permissions_of(identity)
        if right == "on_behalf_of":
            blocks = (block.line for block in policy.blocks if block.on_behalf_of and block.is_for(identity))
            _answer(identity, right, path, next(blocks, 0))
        need = Need(right, _checked(right, object))
    except TrunklineError as error:
        _refuse(error.message)
    _answer(identity, str(need), path, permissions.line_for(need))


def _checked(right: str, object: str) -> str:
    """Returns the object of a need, or ends the process where it is none."""
    form = RIGHTS[right]
    if form is Form.PATTERNS:
        return check_pattern(object)
    if form is Form.WORDS:
        return object if object in INSPECTED else _refuse(f"{object!r} is none of {', '.join(INSPECTED)}")
    if form is Form.RECORDS:
        kind, slash, id = object.partition("/")
        if not slash or not id:
            _refuse(f"{object!r} is not of the form KIND/ID")
        return f"{kind}/{ALL if id == '*' else id}"
    if right.startswith(("durable.", "dead_letters.")) and object != "*":
        check_name("name", object)
    return ALL if object == "*" else object or _refuse("the name is empty; * means all")


def _answer(identity: str, what: str, path: Path, line: int) -> NoReturn:
    verdict = f"allowed: {path}, line {line}" if line else f"denied: no line of {path} allows it"
    click.echo(safe_text(f"{identity} {what}: {verdict}"))
    sys.exit(0 if line else 1)


def _refuse(message: str) -> NoReturn:
    click.echo(safe_text(f"trunkline access: {message}"), err=True)
    sys.exit(2)
