"""What builds and runs the TypeScript client in tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from scripts.tools import ensure, find
from tests.polyglot import commands

TYPESCRIPT_CLIENT: Final = commands.ROOT / "clients" / "typescript"


def node() -> str:
    """The path of Node."""
    found = find("node")
    assert found is not None, "node is missing: run python scripts/tools.py node"
    return found


def run(*command: str, folder: Path = TYPESCRIPT_CLIENT) -> str:
    """Runs a command of the client, and returns what it wrote; it must succeed."""
    path = os.pathsep.join((str(Path(node()).parent), os.environ.get("PATH", os.defpath)))
    return commands.run(command, folder, {"PATH": path})


def build_typescript() -> None:
    """Installs what the lock names, where that has changed, and compiles client, tests and example."""
    run(node(), ensure("typescript"))
