"""Programs: bus, state and sidecar for a run: those that run already, and the others as child processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from trunkline.programs import FREE_PORT, PROGRAMS, LocalStack


@dataclass(frozen=True, slots=True)
class Running:
    """Programs that run already; what is None is started. `sidecar` and `socket` belong together."""

    bus: str | None = None
    state: str | None = None
    sidecar: str | None = None
    socket: str | None = None


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the three programs are. `metrics` is the sidecar's page, None where it is not known."""

    bus: str
    state: str
    sidecar: str
    socket: str
    metrics: str | None


@contextmanager
def local_stack(running: Running) -> Iterator[LocalStack]:
    """Runs what does not run yet; at the end it is gone, and so are its files.

    Raises:
        ProgramError: a program ended or was not ready in time.
    """
    with TemporaryDirectory(prefix="trunkline-demo-") as folder:
        stack = LocalStack(
            Path(folder),
            programs=[name for name in PROGRAMS if getattr(running, name) is None],
            bus_address=running.bus or FREE_PORT,
            state_address=running.state or FREE_PORT,
            sidecar_address=running.sidecar,
            options={"sidecar": ("--metrics-address", FREE_PORT)},
        )
        with stack:
            yield stack


def addresses_of(stack: LocalStack, running: Running) -> Addresses:
    """Returns where all three are."""
    sidecar = stack.programs.get("sidecar")
    return Addresses(
        stack.bus_address,
        stack.state_address,
        stack.sidecar_address,
        running.socket or str(stack.socket_path),
        sidecar.metrics_address if sidecar is not None else None,
    )
