"""What is committed names no machine: no registry's host, no path of somebody's home or checkout."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

HOSTS = ("pypi" + ".org", "files.python" + "hosted.org", "proxy.golang" + ".org", "registry.npm" + "js.org")
MACHINE_PATH = re.compile(rb"(?<![\w.])/(?:root|home/\w+|work|Users/\w+)/")


def tracked() -> list[Path]:
    """Every committed file that is there."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_registry_is_named() -> None:
    """Packages come from wherever the user's own settings say."""
    found = [(path, host) for path in tracked() for host in HOSTS if host.encode() in path.read_bytes()]
    assert found == []


def test_no_path_of_a_machine_is_named() -> None:
    """The tree works wherever it is cloned to."""
    found = [path for path in tracked() if MACHINE_PATH.search(path.read_bytes())]
    assert found == []
