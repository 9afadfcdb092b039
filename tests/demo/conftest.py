"""A made folder, and the demo as people and scripts call it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.programs import command

Result = subprocess.CompletedProcess[str]

SECONDS = 90
END_SECONDS = 10

MODULE = '''"""Module {number}."""

# A comment of its own line.
TEXT = """
# no comment: it stands in a string

"""


def grade(points: int, bonus: bool) -> str:
    if points > 90 or bonus:  # a comment behind code
        return "good"
    return "fair" if points > 50 else "poor"


class Tally:
    def total(self, rows: list[int]) -> int:
        return sum(row for row in rows if row)
'''
MODULE_FIGURES = {"lines": 18, "blank": 6, "comment": 1, "functions": 2, "classes": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """48 sources, and what is no source."""
    for number in range(40):
        package = tmp_path / f"package_{number % 4}"
        package.mkdir(exist_ok=True)
        (package / f"module_{number:02}.py").write_text(MODULE.format(number=number) * (1 + number % 3 * 8))
    for number in range(6):
        (tmp_path / f"notes {number}.md").write_text("# Notes\n\nNo comment here.\n")
    (tmp_path / "run.sh").write_text("#!/bin/sh\n# runs it\nexec true\n")
    (tmp_path / "old.py").write_bytes(b"print 'Python 2'\n# still a comment\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0")
    (tmp_path / "large.txt").write_bytes(b"x" * (1024 * 1024 + 1))
    for hidden in (".git", "node_modules", ".venv", "__pycache__"):
        (tmp_path / hidden).mkdir()
        (tmp_path / hidden / "left_out.py").write_text("x = 1\n")
    return tmp_path


class Demo:
    """`trunkline demo` as a process whose own files lie in a folder of its own, which is how it is known again."""

    def __init__(self, temporary: Path) -> None:
        self._temporary = temporary
        self._environment = {**os.environ, "TMPDIR": str(temporary)}

    def run(self, *arguments: str, **environment: str) -> Result:
        """To its end."""
        return subprocess.run(
            command(["demo", *arguments]),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env=self._environment | environment,
        )

    @contextmanager
    def started(self, *arguments: str, until: str) -> Iterator[subprocess.Popen[str]]:
        """One that has written a line with these words, in a session of its own as in a terminal of its own."""
        process = subprocess.Popen(
            command(["demo", *arguments]),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self._environment,
            start_new_session=True,
        )
        with process:
            try:
                assert process.stdout is not None
                assert any(until in line for line in process.stdout)
                yield process
            finally:
                process.kill()

    def processes(self) -> dict[int, str]:
        """What runs of it: command lines by process id."""
        mark = f"TMPDIR={self._temporary}\0".encode()
        found: dict[int, str] = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes():
                    found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it ended meanwhile
                continue
        return found

    def ends(self) -> dict[int, str]:
        """What still runs of it after END_SECONDS, or at once nothing."""
        deadline = time.monotonic() + END_SECONDS
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.02)  # they are nobody's children any more: nothing tells when they end
        return left

    def leaves_nothing(self) -> bool:
        """Whether its files are gone at once, and its processes soon: Python's own resource tracker ends behind it."""
        files = list(self._temporary.iterdir())
        return not files and not self.ends()


@pytest.fixture
def demo() -> Iterator[Demo]:
    """The demo, with temporary files in a folder whose name is short enough for UNIX sockets."""
    with TemporaryDirectory(prefix="demo-") as folder:
        yield Demo(Path(folder))
