"""Callbacks that only notify: what a user hands over to be told of lost connections and dropped messages."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


def notify(listener: Callable[..., object] | None, *words: object) -> None:
    """Calls a listener, if there is one; its exception is logged and hits nobody else."""
    if listener is None:
        return
    try:
        listener(*words)
    except Exception:
        log.exception("%r failed", listener)
