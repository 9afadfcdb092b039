"""A bus and a sidecar before it that a test may kill, and a channel of its own."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.programs import RunningProgram


@pytest.fixture
def channel() -> str:
    """A channel of this test alone."""
    return f"forward:{uuid4().hex}"


@pytest.fixture
def bus(killable_bus: RunningProgram) -> RunningProgram:
    return killable_bus


@pytest.fixture
def sidecar(killable_sidecar: RunningProgram) -> RunningProgram:
    return killable_sidecar
