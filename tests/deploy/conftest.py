"""Programs as an engine of containers runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.programs import RunningProgram

Start = Callable[..., RunningProgram]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts programs, and ends them."""
    started: list[RunningProgram] = []

    def start(name: str, *options: str, **words: object) -> RunningProgram:
        program = RunningProgram(name, *options, **words)  # type: ignore[arg-type]
        started.append(program)
        return program.start()

    yield start
    for program in started:
        program.end()
