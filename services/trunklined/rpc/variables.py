"""Variables of the environment that no setting has: misspelt ones, in most cases."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Final

_OF_KUBERNETES: Final = re.compile(r"(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP|SCTP).*)?)")
"""What Kubernetes sets in every container for a Service of such a name, `TRUNKLINE_BUS_PORT` for `trunkline-bus`
(https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables)."""


def unknown_variables(prefix: str, names: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """Returns a line for each variable that begins as a program's settings do and is none of them.

    Args:
        prefix: of the program's variables, such as "TRUNKLINE_BUS_".
        names: its settings.
        environment: the variables that are set.
    """
    known = {(prefix + name).upper() for name in names}
    lines = []
    for variable in sorted(environment):
        name = variable.upper()
        if not name.startswith(prefix) or name in known or _OF_KUBERNETES.fullmatch(name.removeprefix(prefix)):
            continue
        meant = difflib.get_close_matches(name, known, 1, cutoff=0.8)
        hint = f"; did you mean {meant[0]}?" if meant else ""
        lines.append(f"{variable} is set, but there is no such setting{hint}")
    return lines
