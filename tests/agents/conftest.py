"""What the tests of agents share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trunkline.agents import BaseAgent
from trunkline.message_channel import MessageChannel

Owned = Callable[[BaseAgent], list[str]]


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    """Where the agents of a test write down what they do."""
    return tmp_path / "diary"


@pytest.fixture
def channel() -> Iterator[MessageChannel]:
    """The channel of somebody who orchestrates by himself."""
    with MessageChannel("process") as channel:
        yield channel
