"""JSON that people give: as an argument, or line by line on standard input."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import click

STDIN = "-"


def read_object(text: str, name: str) -> dict[str, Any]:
    """Returns the JSON object that a text holds.

    Raises:
        click.UsageError: it is none; says where it breaks.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{name} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise click.UsageError(f"{name} must be a JSON object, such as '{{\"done\": true}}'")
    return value


async def read_objects() -> AsyncIterator[dict[str, Any]]:
    """Yields a JSON object for each line of standard input, until its end; empty lines are passed over.

    A thread reads: a terminal or a file is no pipe that an event loop could wait for.
    """
    number = 0
    while line := await asyncio.to_thread(sys.stdin.readline):
        number += 1
        if line.strip():
            yield read_object(line, f"line {number} of standard input")
