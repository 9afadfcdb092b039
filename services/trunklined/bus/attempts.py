"""Attempts: each time that a message was handed out, and why there is none any more."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

LEASE_EXPIRED: Final = "lease expired"
"""The error of an attempt whose lease was over before it was settled."""


class Reason(IntEnum):
    """Why a message became a dead letter; the numbers are those of the wire."""

    MAX_DELIVERIES = 1
    TERMINATED = 2
    EXPIRED = 3


class AttemptRecord(NamedTuple):
    """One time that a message was handed out."""

    number: int
    delivered_at: float
    ended_at: float
    peer: str
    error: str
