"""Orchestrators that end with the test: in this process, each with a witness, and in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.orchestrator.program import Serve, serving
from tests.orchestrator.witness import Witness
from trunkline.orchestrator import Orchestrator

MakeWitness = Callable[..., Witness]


@pytest.fixture(scope="module")
def serve_for_all() -> Iterator[Serve]:
    """The same, for all tests of a module together."""
    with TemporaryDirectory(prefix="trunkline-") as directory, serving(Path(directory)) as serve:
        yield serve


@pytest.fixture
def serve(socket_dir: Path) -> Iterator[Serve]:
    """See `serving`."""
    with serving(socket_dir) as serve:
        yield serve


@pytest.fixture
def orchestrate(socket_dir: Path) -> Iterator[MakeWitness]:
    """`orchestrate(max_workers=2)` makes an orchestrator of that configuration, and returns its witness. It ends before
    the directory of its socket does."""
    made: list[Orchestrator] = []

    def make(kind: type[Orchestrator] = Orchestrator, **config: Any) -> Witness:
        made.append(kind(kind.Config(**config)))
        return Witness(made[-1])

    try:
        yield make
    finally:
        for orchestrator in made:
            orchestrator.shutdown()


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    """Where the agents of a test write down what they do."""
    return tmp_path / "diary"
