"""The delays between attempts to reconnect."""

from __future__ import annotations

from itertools import islice

from trunkline.limits import RECONNECT_DELAY_MAX, RECONNECT_DELAY_MIN
from trunkline.wire.reconnect import reconnect_delays


def test_bounds_double_up_to_the_longest_delay() -> None:
    """Each delay lies below a bound that doubles, and the iterator has no end."""
    bounds = [min(RECONNECT_DELAY_MIN * 2**attempt, RECONNECT_DELAY_MAX) for attempt in range(20)]
    runs = [list(islice(reconnect_delays(), 20)) for _ in range(200)]
    for attempt, bound in enumerate(bounds):
        delays = [run[attempt] for run in runs]
        assert all(0 <= delay <= bound for delay in delays)
        assert max(delays) > bound / 2, "random over the whole range"
