"""Text from anywhere as text that every border takes."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def safe_text(text: str) -> str:
    """Returns a text with what UTF-8 cannot say (lone surrogates) escaped as Python writes it: `\\ud83d`.

    The wire, JSON and terminals take no other text; a user's error or a file's name may hold such.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def error_text(error: BaseException) -> str:
    """Returns what an exception says of itself, `ValueError: bad`; also where its own `__str__` fails."""
    name = type(error).__name__
    try:
        said = str(error)
    except Exception as broken:  # noqa: BLE001  # whatever a user's __str__ does, the failure itself must be told
        return f"{name}, whose text cannot be read: {type(broken).__name__}"
    return safe_text(f"{name}: {said}" if said else name)


def safe_json(value: Any, **options: Any) -> str:
    """Returns JSON text that UTF-8 can say: each lone surrogate in its texts is escaped as by `safe_text`.

    JSON's own escape for such would only pass the fault on: strict readers refuse it.

    Args:
        value: what `json.dumps` takes.
        options: further arguments of `json.dumps`; `ensure_ascii` is set.
    """
    text = json.dumps(value, **options, ensure_ascii=False)
    return _SURROGATE.sub(lambda found: f"\\\\u{ord(found.group()):04x}", text)
