"""The three programs as `trunkline up` starts them, on free ports and in an empty folder."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from trunkline.bench.processes import RunFailedError, end, free_port

PROGRAMS: Final = ("bus", "state", "sidecar")
START_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Together:
    """Three programs that serve.

    Args:
        seconds: from the start of the command to its word that all are ready.
        pids: of the programs, by name.
    """

    seconds: float
    pids: Mapping[str, int]


@asynccontextmanager
async def together() -> AsyncIterator[Together]:
    """Runs `trunkline up` until the block ends.

    Raises:
        RunFailedError: on entry; it ended, or was not ready in time.
    """
    with tempfile.TemporaryDirectory(prefix="trunkline-bench-") as folder:
        addresses = [word for name in ("--bus", "--state") for word in (name, f"127.0.0.1:{free_port()}")]
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "trunkline.cli", *addresses, "--format", "json", "up", "--data", folder),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            assert process.stdout is not None
            try:
                pids = await asyncio.wait_for(_ready(process.stdout), START_SECONDS)
            except TimeoutError:
                raise RunFailedError(f"trunkline up was not ready within {START_SECONDS} s") from None
            yield Together(time.monotonic() - began, pids)
        finally:
            await end(process)


async def _ready(output: asyncio.StreamReader) -> dict[str, int]:
    pids: dict[str, int] = {}
    said: list[str] = []
    async for line in output:
        said.append(line.decode(errors="replace"))
        facts = json.loads(line) if line.startswith(b"{") else {}
        if facts.get("program") in PROGRAMS and facts.get("event") == "ready":
            pids[facts["program"]] = facts["pid"]
        if facts.get("program") == "up" and str(facts.get("event")).startswith("ready in"):
            return {name: pids[name] for name in PROGRAMS}
    raise RunFailedError(f"trunkline up ended before it was ready:\n{''.join(said).strip()}")
