"""What builds and runs the Rust client in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from scripts.tools import RUST_ENVIRONMENT, find, rust_environment
from tests.polyglot.commands import ROOT, run

RUST_CLIENT: Final = ROOT / "clients" / "rust"
PROGRAMS: Final = Path(RUST_ENVIRONMENT["CARGO_TARGET_DIR"]) / "debug"


def cargo(*arguments: str, folder: Path = RUST_CLIENT, **environment: str) -> str:
    """Runs the cargo command, and returns what it wrote; it must succeed. Processes that build wait for each other."""
    command = find("cargo")
    assert command is not None, "cargo is missing: run python scripts/tools.py cargo"
    return run(["nice", "-n", "10", command, *arguments], folder, {**rust_environment(command), **environment})


def build_rust() -> None:
    """Builds the Rust client's runner of the conformance table."""
    cargo("build", "--package", "conformance")
