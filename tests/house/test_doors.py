"""The ways into the house: make's help, the script for continuous integration, the pins."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_make_alone_lists_every_target() -> None:
    """`make` without a target is the help, and it names all that people use."""
    listing = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    targets = ("install", "demo", "run", "test", "image-test", "cluster-test", "check", "bench", "protos", "image")
    for target in (*targets, "clean", "help"):
        assert re.search(rf"^  make {target}\s+\S", listing, re.MULTILINE), target


def test_an_old_python_is_refused_with_a_clear_word(tmp_path: Path) -> None:
    """Where python is older than 3.11, make says so instead of failing later."""
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "install", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr


def test_ci_run_is_executable_and_stops_at_the_first_failure() -> None:
    """.ci/run can be started by itself, and a failing step fails it."""
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()


def test_every_pin_is_a_name_and_an_exact_version() -> None:
    """constraints.txt holds no address and no range, and pins grpc as docs/decisions.md says."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []
    assert {"grpcio==1.76.0", "grpcio-tools==1.76.0"} <= set(lines)


def test_every_dependency_is_pinned() -> None:
    """Whatever pyproject.toml names, its extras too, stands in constraints.txt."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    pinned = {_canonical(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    named = {_canonical(match[0]) for name in wanted if (match := re.match(r"[A-Za-z0-9._-]+", name))}
    assert named - pinned == set()


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
