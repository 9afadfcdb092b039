"""docs/operations.md tells every setting there is, with its default."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from trunklined.bus.config import Settings
from trunklined.command import PROGRAMS
from trunklined.rpc.config import MovingSettings, ServerSettings

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()
HEADINGS = {"bus": "Of the bus:", "state": "Of the state service:", "sidecar": "Of the sidecar:"}
MOVING = "Of the bus and the state service, with the engine redis (see [streams that move](#streams-that-move)):"


def _rows(heading: str) -> dict[str, str]:
    """The settings of one table, with their defaults."""
    table = TEXT.partition(f"\n{heading}\n\n")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \|", table, re.MULTILINE))


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_setting_is_told(program: str) -> None:
    """A setting that is added, or whose default changes, changes the table."""
    settings: type[ServerSettings] = importlib.import_module(f"trunklined.{program}.config").Settings
    assert settings.model_config.get("env_prefix") == f"TRUNKLINE_{program.upper()}_"
    rows = _rows("Of every program:") | _rows(HEADINGS[program])
    if issubclass(settings, MovingSettings):
        rows |= _rows(MOVING)
    for name, field in settings.model_fields.items():
        told = rows.get(name.upper())
        assert told is not None, name
        if name in ("address", "retention") or field.default in (None, "", "auto"):
            continue
        number = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
        assert told == number.lower() or told == str(field.default), name


def test_the_rules_of_retention_that_are_shown_can_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the variable of the environment that the page gives."""
    (shown,) = re.findall(r"^TRUNKLINE_BUS_RETENTION=.*?'$", TEXT, re.MULTILINE | re.DOTALL)
    (assignment,) = shlex.split(shown)
    monkeypatch.setenv(*assignment.split("=", 1))
    rules = Settings().retention
    assert [(rule.pattern, rule.max_age, rule.hard) for rule in rules] == [
        ("audit:>", 2592000, False),
        ("ticks:>", None, True),
        (">", 86400, False),
    ]
