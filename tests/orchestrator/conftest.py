"""Orchestrators in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.orchestrator.program import Serve, serving


@pytest.fixture
def serve(socket_dir: Path) -> Iterator[Serve]:
    """See `serving`."""
    with serving(socket_dir) as serve:
        yield serve
