"""Peers: who called, where a program on the way handed the call on."""

from __future__ import annotations

from typing import Any, Final

PEER: Final = "trunkline-peer"
"""The metadata in which a program that hands a call on says whose it is."""


def peer_of(context: Any) -> str:
    """Returns the caller's address, for people."""
    return forwarded_peer(context) or str(context.peer())


def forwarded_peer(context: Any) -> str:
    """Returns the caller's address where another program handed the call on and said it, else an empty text."""
    return next((str(value) for key, value in context.invocation_metadata() or () if key == PEER), "")
