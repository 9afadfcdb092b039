"""What builds and runs the TypeScript client in tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from scripts.tools import ensure, find

ROOT: Final = Path(__file__).resolve().parents[2]
TYPESCRIPT_CLIENT: Final = ROOT / "clients" / "typescript"
BUILD_SECONDS: Final = 600.0
"""Within which a build must end: the first one installs packages."""


def node() -> str:
    """The path of Node."""
    found = find("node")
    assert found is not None, "node is missing: run python scripts/tools.py node"
    return found


def typescript_environment() -> dict[str, str]:
    """The environment of npm and of the tests."""
    path = os.pathsep.join(str(ROOT / folder) for folder in ("clients/python", "services"))
    tools = os.pathsep.join((str(Path(node()).parent), os.environ.get("PATH", os.defpath)))
    return {**os.environ, "PATH": tools, "TRUNKLINE_PYTHON": sys.executable, "PYTHONPATH": path}


def run(*command: str, folder: Path = TYPESCRIPT_CLIENT) -> str:
    """Runs a command of the client, and returns what it wrote; it must succeed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=typescript_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-20_000:]}"
    return done.stdout


def build_typescript() -> None:
    """Installs what the lock names, where that has changed, and compiles client, tests and example."""
    run(node(), ensure("typescript"))
