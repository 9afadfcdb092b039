"""What a guide in docs/ shows, taken from the page itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"

_BLOCK = re.compile(r"(?:<!-- (?P<mark>[^>]+?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)
_TABLE = re.compile(r"^\| there \| here \| note \|\n\|[-| ]+\|\n((?:\|.*\|\n)+)", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")
_SERVES = " serves"


@dataclass(frozen=True)
class Guide:
    """One page. Marks stand in a comment on the line before a block: `name.py` is a program that ends by itself,
    `name.py serves` one that says "ready" and is ended, `output of name.py` what the one prints, `beside name.py` the
    commands that are given while the other runs."""

    path: Path

    @cached_property
    def blocks(self) -> list[tuple[str, str, str]]:
        """Mark, language and text of each block, in order."""
        return [(each["mark"] or "", each["language"], each["text"]) for each in _BLOCK.finditer(self.path.read_text())]

    @cached_property
    def programs(self) -> dict[str, str]:
        """The text of each program, by its file's name."""
        found = ((mark.removesuffix(_SERVES), text) for mark, language, text in self.blocks if language == "python")
        return {name: text for name, text in found if name}

    @cached_property
    def serving(self) -> set[str]:
        """Those of them that run until they are ended."""
        return {mark.removesuffix(_SERVES) for mark, _, _ in self.blocks if mark.endswith(_SERVES)}

    @cached_property
    def outputs(self) -> dict[str, str]:
        """What each program prints."""
        return self._marked("output of ")

    @cached_property
    def commands(self) -> dict[str, list[str]]:
        """The command lines that are given beside each program."""
        return {name: text.splitlines() for name, text in self._marked("beside ").items()}

    @cached_property
    def fragments(self) -> list[str]:
        """Python that only shows how something is written."""
        return [text for mark, language, text in self.blocks if language == "python" and not mark]

    @cached_property
    def rows(self) -> list[tuple[list[str], list[str]]]:
        """Of each row of the tables "there / here / note", the code in the first two columns."""
        tables = "".join(_TABLE.findall(self.path.read_text()))
        cells = [re.split(r"(?<!\\)\|", line) for line in tables.splitlines()]
        return [(_CODE.findall(row[1]), _CODE.findall(row[2])) for row in cells]

    def _marked(self, prefix: str) -> dict[str, str]:
        return {mark.removeprefix(prefix): text for mark, _, text in self.blocks if mark.startswith(prefix)}


GUIDES = [Guide(path) for path in sorted(DOCS.glob("from-*.md"))]
