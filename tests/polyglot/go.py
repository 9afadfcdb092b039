"""What builds and runs the Go client in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from scripts.tools import GO_ENVIRONMENT, find
from tests.polyglot.commands import ROOT, run

GO_CLIENT: Final = ROOT / "clients" / "go"

GO_LOAD: Final = GO_CLIENT / "cmd" / "trunkline-load"
"""The load program, a module of its own: who uses the client needs nothing of NATS."""


def go(*arguments: str, folder: Path = GO_CLIENT) -> str:
    """Runs the go command, and returns what it wrote; it must succeed."""
    command = find("go")
    assert command is not None, "go is missing: run python scripts/tools.py go"
    flags = f"{GO_ENVIRONMENT['GOFLAGS']} -p=1"  # others need the machine too
    return run(["nice", "-n", "10", command, *arguments], folder, {**GO_ENVIRONMENT, "GOFLAGS": flags})
