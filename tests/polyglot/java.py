"""What builds and runs the Java client in tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scripts.tools import MAVEN_REPOSITORY, find
from tests.polyglot.commands import ROOT, run

JAVA_CLIENT: Final = ROOT / "clients" / "java"
TARGET: Final = JAVA_CLIENT / "target"
STAMP: Final = TARGET / "built"
"""As new as what the classes were compiled of."""

FRUGAL: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
"""Programs of tests end before it pays to optimize them."""


def _found(name: str) -> str:
    found = find(name)
    assert found is not None, f"{name} is missing: run python scripts/tools.py {name}"
    return found


def maven(*arguments: str) -> str:
    """Runs Maven, and returns what it wrote; it must succeed. It asks nobody for what it has."""
    command = [_found("mvn"), "--batch-mode", "--no-transfer-progress", f"-Dmaven.repo.local={MAVEN_REPOSITORY}"]
    home = Path(_found("java")).resolve().parents[1]
    changed = {"MAVEN_OPTS": " ".join(FRUGAL), "JAVA_HOME": str(home)}
    return run(["nice", "-n", "10", *command, *arguments], JAVA_CLIENT, changed)


def _sources() -> Iterator[Path]:
    yield JAVA_CLIENT / "pom.xml"
    for folder in (JAVA_CLIENT / "src", JAVA_CLIENT / "examples", ROOT / "protos"):
        yield from folder.rglob("*")


def build_java() -> None:
    """Compiles client, tests and example, where something changed: Maven takes seconds to find out that nothing did.

    All of it anew, as Maven does too, which leaves the classes of what is gone.
    """
    newest = max(each.stat().st_mtime for each in _sources())
    if STAMP.exists() and STAMP.stat().st_mtime == newest:
        return
    shutil.rmtree(TARGET, ignore_errors=True)
    maven("--quiet", "test-compile")
    STAMP.touch()
    os.utime(STAMP, (newest, newest))


def classpath() -> str:
    """Where a program finds the client, and what it needs."""
    places = (TARGET / "test-classes", TARGET / "classes", (TARGET / "classpath").read_text().strip())
    return os.pathsep.join(map(str, places))


def java(*program: str) -> list[str]:
    """The command line of a program that was built."""
    return [_found("java"), *FRUGAL, "-cp", classpath(), *program]
