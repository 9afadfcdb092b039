"""Peers: who called, where a program on the way handed the call on."""

from __future__ import annotations

from typing import Any, Final

from trunklined.rpc.identity import identity_of

PEER: Final = "trunkline-peer"
"""The metadata in which a program that hands a call on says whose it is."""


def peer_of(context: Any) -> str:
    """Returns the caller's name, where it was proved, and address, for people."""
    return forwarded_peer(context) or str(identity_of(context))


def forwarded_peer(context: Any) -> str:
    """Returns the caller's address where another program handed the call on and said it, else an empty text."""
    return next((str(value) for key, value in context.invocation_metadata() or () if key == PEER), "")
