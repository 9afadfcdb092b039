"""docs/errors.md has every error that crosses the wire, or ends a start, with its code and its status."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import trunklined
from trunkline import errors

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "errors.md").read_text()
ROW = re.compile(r"^\| `([A-Z_]+)` \| ([^|]+) \| `(\w+)` \|", re.MULTILINE)
START_ROW = re.compile(r"^\| `([A-Z_]+)` \| [^|]+ \|$", re.MULTILINE)
ROOTS = {"TrunklineError", "MessageBusError", "StateError"}


def test_every_error_has_its_row() -> None:
    """What is raised is the row's class, with the row's code; a status that is never sent is not shown."""
    rows = {name: (code, status) for code, status, name in ROW.findall(TEXT) if name not in ROOTS}
    classes = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    raised = {kind.__name__ for kind in classes.values() if issubclass(kind, errors.TrunklineError)} - ROOTS
    assert set(rows) == raised
    for name, (code, status) in rows.items():
        kind: type[errors.TrunklineError] = classes[name]
        assert code == kind.error_code
        assert status in (kind.status, "none: raised by the client")


def _all_below(kind: type[errors.TrunklineError]) -> set[type[errors.TrunklineError]]:
    return {kind}.union(*map(_all_below, kind.__subclasses__()))


def test_every_error_of_a_program_has_its_row() -> None:
    """Also one that no class of the client stands for: it comes as a root, with the row's code. Found by loading every
    module, so that one that is made anywhere is asked for here."""
    for module in pkgutil.walk_packages(trunklined.__path__, "trunklined."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    sent = {code: status for code, status, _ in ROW.findall(TEXT)}
    ends_a_start = set(START_ROW.findall(TEXT))
    own = {kind for kind in _all_below(errors.TrunklineError) if kind.__module__.startswith("trunklined")}
    assert {kind.error_code for kind in own} <= sent.keys() | ends_a_start
    for kind in own:
        if kind.error_code in sent:
            assert kind.status == sent[kind.error_code]
    assert ends_a_start <= {kind.error_code for kind in own}
    assert sent.keys() <= {kind.error_code for kind in own} | errors.ERRORS.keys()
