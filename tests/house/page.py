"""What README.md and the pages in docs/ show, taken from the pages themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATHS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCED = re.compile(
    r"^(?:<!-- (?P<mark>.+?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TABLE = re.compile(r"^\| there \| here \| note \|\n\|[-| ]+\|\n((?:\|.*\|\n)+)", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")

SERVES = re.compile(r"(?P<name>\S+\.py) serves")
SERVICE = re.compile(r"serves")
BESIDE = re.compile(r"(?:(?P<name>\S+\.py) )?beside (?P<server>\S+\.py)")
STREAMS = re.compile(r"streams (?P<when>from|until) (?P<text>.+)")
OUTPUT = re.compile(r"(?P<shortened>shortened )?output(?: of (?P<name>\S+\.py))?")
NOT_RUN = re.compile(r"not run: (?P<reason>.+)")
PROGRAM = re.compile(r"(?P<name>\S+\.py)")
MARKS = (SERVES, SERVICE, BESIDE, STREAMS, OUTPUT, NOT_RUN, PROGRAM)


@dataclass(frozen=True)
class Block:
    """A block of code, and the mark in the comment on the line before it.

    Python and `sh` without a mark are run, and end by themselves. The marks say more:

    - `name.py`: a program with a name, for other blocks to speak of.
    - `name.py serves`: it prints a line that ends with "ready", and runs until it is ended.
    - `beside name.py`, `other.py beside name.py`: run while that program serves. It may stand in README.md.
    - `serves`: a command that runs a service, from when it is ready to the end of the page.
    - `streams until TEXT`: a command that goes on; the next block is run beside it, and then it has printed TEXT.
      `streams from TEXT`: it prints TEXT before the next block is run.
    - `output of name.py`, `output`: what that program, or the block before, prints. `shortened output`: these lines, in
      this order, and others.
    - `not run: REASON`.

    A block of text without a mark is a picture.
    """

    where: str
    mark: str
    language: str
    text: str

    def match(self, kind: re.Pattern[str]) -> re.Match[str] | None:
        """Returns the mark's parts if it is of this kind."""
        return kind.fullmatch(self.mark)

    @property
    def is_picture(self) -> bool:
        """Whether there is nothing to be run or compared."""
        return not self.mark and self.language in ("", "text")

    @property
    def name(self) -> str:
        """The file's name of a program; empty where it has none."""
        return next((found["name"] or "" for kind in (SERVES, BESIDE, PROGRAM) if (found := self.match(kind))), "")


@dataclass(frozen=True)
class Page:
    """One page."""

    path: Path

    @property
    def name(self) -> str:
        """The path from the root of the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def blocks(self) -> list[Block]:
        """All blocks, in order."""
        return [
            Block(
                f"{self.name}:{self.text.count(chr(10), 0, each.start()) + 1}",
                each["mark"] or "",
                each["language"],
                each["text"],
            )
            for each in _FENCED.finditer(self.text)
        ]

    @cached_property
    def programs(self) -> dict[str, Block]:
        """The programs that have a name."""
        return {block.name: block for block in self.blocks if block.language == "python" and block.name}

    @cached_property
    def outputs(self) -> list[tuple[Block, Block]]:
        """Blocks that are run, each with the block of what it prints."""
        found = []
        for before, block in pairwise(self.blocks):
            if output := block.match(OUTPUT):
                found.append((self.programs[output["name"]] if output["name"] else before, block))
        return found

    @cached_property
    def anchors(self) -> set[str]:
        """The names of its headings, as GitHub makes them."""
        found: set[str] = set()
        for heading in _HEADING.findall(self.prose):
            name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            found.add(name if name not in found else f"{name}-1")
        return found

    @cached_property
    def links(self) -> list[str]:
        """Where its links lead, in order."""
        return _LINK.findall(self.prose)

    @cached_property
    def prose(self) -> str:
        """The text without its blocks."""
        return _FENCED.sub("", self.text)

    @cached_property
    def rows(self) -> list[tuple[list[str], list[str]]]:
        """Of each row of the tables "there / here / note", the code in the first two columns."""
        tables = "".join(_TABLE.findall(self.text))
        cells = [re.split(r"(?<!\\)\|", line) for line in tables.splitlines()]
        return [(_CODE.findall(row[1]), _CODE.findall(row[2])) for row in cells]


PAGES = [Page(path) for path in PATHS]
README = PAGES[0]
