"""Logs, whatever the text of what is logged."""

from __future__ import annotations

import io

from trunklined.rpc.logging import LastingStream


def test_text_that_utf8_cannot_say_is_logged_escaped() -> None:
    """A log file of UTF-8 takes no lone surrogate; that must not be the service's failure."""
    raw = io.BytesIO()
    stream = LastingStream(io.TextIOWrapper(raw, "utf-8", write_through=True))
    assert stream.write("bad \ud83d") == 5
    assert raw.getvalue() == b"bad \\ud83d"
