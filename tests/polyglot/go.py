"""What builds and runs the Go client in tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from scripts.tools import GO_ENVIRONMENT, find

ROOT: Final = Path(__file__).resolve().parents[2]
GO_CLIENT: Final = ROOT / "clients" / "go"
BUILD_SECONDS: Final = 600.0
"""Within which a build must end: the first one compiles gRPC."""


def go_environment() -> dict[str, str]:
    """The environment of the go command."""
    path = os.pathsep.join(str(ROOT / folder) for folder in ("clients/python", "services"))
    flags = f"{GO_ENVIRONMENT['GOFLAGS']} -p=1"  # others need the machine too
    return {**os.environ, **GO_ENVIRONMENT, "GOFLAGS": flags, "TRUNKLINE_PYTHON": sys.executable, "PYTHONPATH": path}


def go(*arguments: str, folder: Path = GO_CLIENT) -> str:
    """Runs the go command, and returns what it wrote; it must succeed."""
    command = find("go")
    assert command is not None, "go is missing: run python scripts/tools.py go"
    done = subprocess.run(
        ["nice", "-n", "10", command, *arguments],
        cwd=folder,
        env=go_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"go {' '.join(arguments)}:\n{done.stdout[-20_000:]}"
    return done.stdout
