"""Resolves every dependency in a scratch environment and writes constraints.txt: names and exact versions."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "constraints.txt"

KEPT_OUT = ("pip==", "wheel==")
"""What the environment itself brings."""

HELD = ("grpcio", "grpcio-health-checking", "grpcio-reflection", "grpcio-status", "grpcio-testing", "grpcio-tools")
"""Held at GRPC_VERSION, not at the newest: docs/decisions.md has the measurements."""
GRPC_VERSION = "1.76.0"

HEADER = """\
# Exact versions of everything that the Makefile installs. Written by `make pins`; commit it with what made it change.
"""

PIN = re.compile(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+")


def resolve(scratch: Path) -> list[str]:
    """Installs all dependencies, those of the extras too, into a new environment and returns what pip chose."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    subprocess.run([sys.executable, "-m", "venv", str(scratch / "venv")], check=True)
    python = str(scratch / "venv" / "bin" / "python")
    requirements += ["setuptools>=77"]  # grpcio-tools needs it; what venv brings is too old for Python 3.12
    held = [f"{name}=={GRPC_VERSION}" for name in HELD]
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, *requirements, *held], check=True)
    listing = subprocess.run(
        [python, "-m", "pip", "freeze", "--all", "--disable-pip-version-check"],
        check=True,
        capture_output=True,
        text=True,
    )
    return [line for line in listing.stdout.splitlines() if not line.startswith(KEPT_OUT)]


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        pins = resolve(Path(scratch))
    odd = [pin for pin in pins if not PIN.fullmatch(pin)]
    if odd:
        print(f"not a name and a version: {odd}", file=sys.stderr)
        return 1
    TARGET.write_text(HEADER + "\n".join(pins) + "\n")
    print(f"{TARGET.name}: {len(pins)} pins")
    return 0


if __name__ == "__main__":
    sys.exit(main())
