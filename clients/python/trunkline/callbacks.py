"""Callbacks that only notify: what a user hands over to be told of lost connections and dropped messages."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

_running: set[asyncio.Future[None]] = set()
"""Hooks that are awaited: a loop keeps no reference to its tasks."""


def notify(listener: Callable[..., object] | None, *words: object) -> None:
    """Calls a listener, if there is one; an asynchronous one is awaited in a task of its own. What it raises is logged
    and hits nobody else."""
    if listener is None:
        return
    try:
        outcome = listener(*words)
    except Exception:
        log.exception("%r failed", listener)
        return
    if inspect.isawaitable(outcome):
        running = asyncio.ensure_future(_await(listener, outcome))
        _running.add(running)
        running.add_done_callback(_running.discard)


async def _await(listener: Callable[..., object], outcome: Awaitable[object]) -> None:
    try:
        await outcome
    except Exception:
        log.exception("%r failed", listener)
