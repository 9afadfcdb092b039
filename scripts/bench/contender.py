"""Contender: one line of the comparison: a peer, or ourselves: with less to carry, or on another version of grpcio."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from scripts.bench import peers
from scripts.bench.processes import RunFailedError

MANY_WAITING: Final = 10_000_000
FEW_WAITING: Final = 10_000
FEW: Final = "few-waiting"
"""Ourselves with few messages waiting; the peer of the works in which many do."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Who runs.

    Args:
        name: in the results.
        title: for people.
        peer: the technology, a key of `peers.PEERS`.
        environment: of its server and its roles, beside ours.
        waiting: stored messages that its bus keeps beside those that a work of the backlog publishes and consumes.
        most: of anything in one run; None: as many as the work says.
    """

    name: str
    title: str
    peer: str
    environment: Mapping[str, str] = field(default_factory=dict)
    waiting: int = MANY_WAITING
    most: int | None = None


def ours() -> Contender:
    """Ourselves as installed."""
    return of_peer(peers.OURS)


def few_waiting(waiting: int = FEW_WAITING) -> Contender:
    """Ourselves with few messages waiting."""
    return Contender(FEW, f"ours, {waiting:,} waiting", peers.OURS, waiting=waiting)


def by(contender: Contender, ours: str) -> Contender:
    """The same contender, where it is ourselves by the peer that a work names for us; it keeps its name."""
    if contender.peer != peers.OURS or ours == peers.OURS:
        return contender
    title = peers.load(ours).title if contender.name == peers.OURS else contender.title
    return replace(contender, peer=ours, title=title)


def of_peer(name: str) -> Contender:
    """A peer.

    Raises:
        ImportError: its library is not installed.
    """
    return Contender(name, peers.load(name).title, name)


def on_grpcio(version: str, folder: Path) -> Contender:
    """Ourselves, with another version of grpcio, which is installed into a folder and found before the installed one.

    Raises:
        RunFailedError: pip could not install it.
    """
    target = folder / f"grpcio-{version}"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
    done = subprocess.run(
        [*pip, "--target", str(target), f"grpcio=={version}"], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise RunFailedError(f"grpcio {version} could not be installed:\n{done.stderr.strip()}")
    name = f"grpcio {version}"
    return Contender(name, f"ours on {name}", peers.OURS, {"PYTHONPATH": str(target)})
