"""Durations by bucket."""

from __future__ import annotations

import pytest

from trunklined.rpc.histogram import Histogram


def test_a_duration_is_in_the_bucket_of_the_first_bound_that_it_does_not_pass() -> None:
    """A bound is in its own bucket, what is above all is in +Inf, and each bucket counts those below it too."""
    histogram = Histogram((0.1, 1.0))
    for seconds in (0.0, 0.1, 0.11, 1.0, 1.01, 600.0):
        histogram.observe(seconds)
    assert histogram.cumulative() == [("0.1", 2), ("1.0", 4), ("+Inf", 6)]
    assert histogram.total == pytest.approx(602.22)


def test_a_new_histogram_is_empty() -> None:
    """Its buckets are told nevertheless."""
    histogram = Histogram((0.5,))
    assert histogram.cumulative() == [("0.5", 0), ("+Inf", 0)]
    assert histogram.total == 0
