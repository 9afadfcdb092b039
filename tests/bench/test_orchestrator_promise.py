"""What is promised of an orchestrator is measured with real agents."""

from __future__ import annotations

import pytest

from scripts.bench.promises import orchestrator


async def test_an_orchestrators_events_are_timed_and_its_rest_is_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement itself, with fewer events and a shorter rest: each event comes."""
    monkeypatch.setattr(orchestrator, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(orchestrator, "SECONDS", 0.5)
    event, rest = await orchestrator.measure(1)
    assert (event.unit, event.bound, event.more_is_better) == ("ms", 5, False)
    assert (rest.unit, rest.bound, rest.more_is_better) == ("%", 1, False)
    assert event.value > 0
    assert rest.value >= 0
