"""Writes down the public names of Trunkline with their signatures: `python public_names.py > public_names.json`.

It asks the `trunkline` that this Python imports, and needs nothing else. `public_names.json` keeps what was promised:
it is written anew only where a promise ends on purpose, with an entry in the changelog.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import json
import re
import sys
from typing import Any

MODULES = ("trunkline", "trunkline.agents", "trunkline.message_channel", "trunkline.orchestrator", "trunkline.sync")
"""What users import from."""

PACKAGES = ("trunkline", "trunklined")
PROTOCOL = {"__call__", "__enter__", "__exit__", "__aenter__", "__aexit__", "__iter__", "__aiter__", "__anext__"}
"""Methods that the language calls: they count as public."""

WIRING = {"said", "vessel", "when_heard"}
"""What only agents and orchestrators themselves called, although its names had no underscore: never documented."""

Parameter = list[str | None]
"""Name, kind, and the default as it is written, or None where the parameter is required."""

Promise = list[Parameter] | str | None
"""The parameters of what can be called, the value of an enum's member, None of all else."""


def describe() -> dict[str, dict[str, Promise]]:
    """Returns, by public name, what it and its public members are: "" stands for the name itself."""
    found = {}
    for module in MODULES:
        loaded = importlib.import_module(module)
        for name in sorted(set(loaded.__all__) - {"__version__"}):
            value = getattr(loaded, name)
            members = _members(value) if inspect.isclass(value) else {}
            found[f"{module}.{name}"] = {"": _parameters(value), **members}
    return found


def _members(cls: type) -> dict[str, Promise]:
    """Returns the public members that classes of these packages define."""
    found: dict[str, Promise] = {}
    for name in dir(cls):
        owner = next((each for each in cls.__mro__ if name in vars(each)), object)
        is_private = name in WIRING or (name.startswith("_") and name not in PROTOCOL)
        if is_private or owner.__module__.partition(".")[0] not in PACKAGES:
            continue
        value = getattr(cls, name, None)
        if isinstance(value, enum.Enum):
            found[name] = repr(value.value)
        else:
            found[name] = _parameters(value) if inspect.isroutine(value) or inspect.isclass(value) else None
    return found


def _parameters(value: Any) -> list[Parameter] | None:
    if inspect.isclass(value) and issubclass(value, enum.Enum):
        return None
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # an alias of types, or a module
        return None
    return [[each.name, each.kind.name, _default(each.default)] for each in signature.parameters.values()]


def _default(value: Any) -> str | None:
    if value is inspect.Parameter.empty:
        return None
    if inspect.isroutine(value) or inspect.isclass(value):
        return str(value.__qualname__)
    if isinstance(value, frozenset):
        return f"frozenset({sorted(value)})"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def main() -> None:
    """Writes one line for each name and member."""
    rows = [(name, member, promise) for name, members in describe().items() for member, promise in members.items()]
    sys.stdout.write("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


if __name__ == "__main__":
    main()
