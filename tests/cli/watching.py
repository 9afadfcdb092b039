"""`history --follow` as a process, with what it says."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from tests.programs import command


@contextmanager
def watching(environment: dict[str, str], *options: str) -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    """A follower with its two outputs."""
    arguments = command(["history", "--follow", "--interval", "0.1", *options])
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdout=pipe, stderr=pipe, text=True, env=environment) as watcher:
        assert watcher.stdout is not None
        assert watcher.stderr is not None
        try:
            yield watcher, watcher.stdout, watcher.stderr
        finally:
            watcher.kill()
