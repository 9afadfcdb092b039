"""Ready: how long `trunkline up` takes until all three programs serve, the start of Python included."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Sequence
from typing import Final

from scripts.bench.processes import START_SECONDS, RunFailedError, end, free_port
from scripts.bench.promise import Figure, Promise

MOST_SECONDS: Final = 2.0


async def measure(runs: int) -> Sequence[Figure]:
    """The median of so many starts."""
    seconds = statistics.median([await _start() for _ in range(runs)])
    return [Figure("ready after trunkline up", "s", seconds, MOST_SECONDS)]


async def _start() -> float:
    """Seconds from the start of `trunkline up`, on free ports and in an empty folder, to its word that all serve."""
    with tempfile.TemporaryDirectory(prefix="trunkline-bench-") as folder:
        addresses = [word for name in ("--bus", "--state") for word in (name, f"127.0.0.1:{free_port()}")]
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "trunkline.cli", *addresses, "--format", "json", "up", "--data", folder),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
        )
        try:
            assert process.stdout is not None
            await asyncio.wait_for(_ready(process.stdout), START_SECONDS)
            return time.monotonic() - began
        except TimeoutError:
            raise RunFailedError(f"trunkline up was not ready within {START_SECONDS} s") from None
        finally:
            await end(process)


async def _ready(output: asyncio.StreamReader) -> None:
    written: list[str] = []
    async for line in output:
        written.append(line.decode(errors="replace"))
        facts = json.loads(line) if line.startswith(b"{") else {}
        if facts.get("program") == "up" and str(facts.get("event")).startswith("ready in"):
            return
    raise RunFailedError(f"trunkline up ended before it was ready:\n{''.join(written).strip()}")


READY = Promise("ready", measure)
