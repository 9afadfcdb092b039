"""The languages that have a client: how each one's programs are built, once for what its sources are."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.polyglot.commands import ROOT
from tests.polyglot.go import GO_CLIENT, GO_LOAD, go
from tests.polyglot.java import JAVA_CLIENT, build_java, java
from tests.polyglot.rust import PROGRAMS, RUST_CLIENT, build_rust
from tests.polyglot.typescript import TYPESCRIPT_CLIENT, build_typescript, node

BUILT: Final = ROOT / "build" / "polyglot"
"""Where programs are built. Compilers keep what they made before: only the first build takes long."""


@dataclass(frozen=True, slots=True)
class Language:
    """How a language's runner of the conformance table is built and started.

    Args:
        name: of the language.
        folder: in which its programs run.
        build: builds all that tests run.
        runner: the command line of its runner.
    """

    name: str
    folder: Path
    build: Callable[[], object]
    runner: Callable[[], list[str]]


def build_go() -> None:
    """Builds the Go client's programs."""
    go("build", "-o", f"{BUILT}/", "./internal/conformance", "./examples/measure")
    go("build", "-o", f"{BUILT}/", ".", folder=GO_LOAD)


LANGUAGES: Final[Mapping[str, Language]] = {
    each.name: each
    for each in (
        Language("go", GO_CLIENT, build_go, lambda: [f"{BUILT}/conformance"]),
        Language("java", JAVA_CLIENT, build_java, lambda: java("trunkline.conformance.Runner")),
        Language("python", ROOT, lambda: None, lambda: [sys.executable, "-m", "tests.conformance.runner"]),
        Language("rust", RUST_CLIENT, build_rust, lambda: [str(PROGRAMS / "conformance")]),
        Language(
            "typescript", TYPESCRIPT_CLIENT, build_typescript, lambda: [node(), "dist/test/conformance/runner.js"]
        ),
    )
}


@cache
def build(name: str) -> Language:
    """Returns a language whose programs are built. Processes that run tests wait for each other."""
    language = LANGUAGES[name]
    BUILT.mkdir(parents=True, exist_ok=True)
    with _lock(name):
        marker = BUILT / f"{name}.built"
        if not marker.exists() and sys.__stderr__ is not None:
            print(f"\nbuilding what tests run of {name}: a first build takes a minute or two", file=sys.__stderr__)
        language.build()
        marker.touch()
    return language


@contextmanager
def _lock(name: str) -> Iterator[None]:
    descriptor = os.open(BUILT / f"{name}.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
