"""A real wheel holds everything that the tree has: both packages, generated code, types."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"trunkline": ROOT / "clients/python/trunkline", "trunklined": ROOT / "services/trunklined"}
SUFFIXES = {".py", ".pyi", ".typed"}


def test_a_wheel_holds_every_module(tmp_path: Path) -> None:
    """No package is forgotten, the types come along, and nothing of the checkout beside them does."""
    tree = tmp_path / "tree"
    for part in ("clients", "services"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    done = subprocess.run(
        [*build, "--wheel-dir", str(tmp_path), str(tree)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("trunkline-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"{package}/{path.relative_to(home).as_posix()}"
        for package, home in PACKAGES.items()
        for path in home.rglob("*")
        if path.suffix in SUFFIXES
    }
    assert {"trunkline/v1/bus_pb2.pyi", "trunkline/py.typed", "trunklined/py.typed"} <= wanted
    assert wanted - held == set()
    assert {name.partition("/")[0] for name in held if ".dist-info/" not in name} == set(PACKAGES)
