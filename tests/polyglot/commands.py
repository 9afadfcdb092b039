"""Runs the commands that build a client and try it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
BUILD_SECONDS: Final = 600.0
"""Within which a command must end: the first build compiles gRPC, or installs packages."""


def environment(changed: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of a client's tests: with it they start this tree's programs."""
    path = os.pathsep.join(str(ROOT / folder) for folder in ("clients/python", "services"))
    return {**os.environ, "TRUNKLINE_PYTHON": sys.executable, "PYTHONPATH": path, **changed}


def run(command: Sequence[str], folder: Path, changed: Mapping[str, str]) -> str:
    """Runs a command, and returns what it wrote; it must succeed.

    Args:
        command: with its arguments.
        folder: where.
        changed: variables of its environment, beside those of `environment`.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(changed),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-20_000:]}"
    return done.stdout
