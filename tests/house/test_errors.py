"""docs/errors.md has every error that crosses the wire, with its code and its status."""

from __future__ import annotations

import re
from pathlib import Path

from trunkline import errors

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "errors.md").read_text()
ROW = re.compile(r"^\| `([A-Z_]+)` \| ([^|]+) \| `(\w+)` \|", re.MULTILINE)
ROOTS = {"TrunklineError", "MessageBusError", "StateError"}


def test_every_error_has_its_row() -> None:
    """What is raised is the row's class, with the row's code; a status that is never sent is not shown."""
    rows = {name: (code, status) for code, status, name in ROW.findall(TEXT)}
    classes = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    raised = {kind.__name__ for kind in classes.values() if issubclass(kind, errors.TrunklineError)} - ROOTS
    assert set(rows) == raised
    for name, (code, status) in rows.items():
        kind: type[errors.TrunklineError] = classes[name]
        assert code == kind.error_code
        assert status in (kind.status, "none: raised by the client")
