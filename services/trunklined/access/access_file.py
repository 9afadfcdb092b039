"""The access file: TOML, read whole or not at all; what is wrong is told with line and word."""

from __future__ import annotations

import difflib
import math
import os
import re
import stat
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from trunkline.channels import check_pattern
from trunkline.errors import InvalidChannelError, TrunklineError
from trunkline.records import RECORD_KINDS
from trunklined.access.limits import NUMBERS, RATES, Limits, Rate
from trunklined.access.policy import ANY, IDENTITY, Block, Entry, LimitBlock, Policy
from trunklined.access.rights import INSPECTED, RIGHTS, Form

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
_ALLOW: Final = "allow"
_LIMIT: Final = "limit"
_FIGURES: Final = (*(f"{name}_{of}" for name in RATES for of in ("per_second", "burst")), *NUMBERS)
"""What a limit's block can say."""
_GROUPS: Final = frozenset(right.partition(".")[0] for right in RIGHTS if "." in right)

_BLOCK: Final = re.compile(r"\s*\[\[\s*([\w.\"'-]+)\s*\]\]")
_TABLE: Final = re.compile(r"\s*\[\s*allow\s*\.\s*([\w\"'. -]+?)\s*\]")
_KEY: Final = re.compile(r"\s*([\w.\"' -]+?)\s*=")
_WORD: Final = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'([^']*)'")


class AccessFileError(TrunklineError):
    """The access file cannot be taken. Details: setting, file, line."""

    error_code = "ACCESS_FILE"
    status = "FAILED_PRECONDITION"


def read_policy(path: Path) -> Policy:
    """Reads an access file.

    Raises:
        AccessFileError: it cannot be read, others can write it, or something in it is wrong.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise _wrong(path, 0, f"it can be written by others: chmod go-w {path}")
            raw = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _wrong(path, 0, f"it cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(raw) > MAX_FILE_BYTES:
        raise _wrong(path, 0, f"it has more than {MAX_FILE_BYTES} bytes")
    try:
        text = raw.decode()
    except ValueError:
        raise _wrong(path, 0, "it is no text in UTF-8") from None
    return parse_policy(text, path)


def parse_policy(text: str, path: Path) -> Policy:
    """Reads the text of an access file; `path` is named in errors. Raises as `read_policy`."""
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = re.search(r"\(at line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1  # at its end
        raise _wrong(path, line, f"it is no TOML: {error}") from None
    return _Reader(path, _Places(text)).policy(content)


class _Places:
    """Where keys and words stand: TOML's parser does not tell."""

    def __init__(self, text: str) -> None:
        self._found: dict[tuple[str, str, str], int] = {}
        blocks: Counter[str] = Counter()
        block, table, key = "", "", ""
        for number, line in enumerate(text.splitlines(), 1):
            rest = line
            if header := _BLOCK.match(line):
                name = _bare(header[1])
                block, table, key = _nth(name, blocks[name]), "", ""
                blocks[name] += 1
                self._note(block, "", "", number)
                self._note("", name, "", number)
                continue
            if header := _TABLE.match(line):
                table, key = _bare(header[1]), ""
                self._note(block, table, "", number)
                continue
            if found := _KEY.match(line):
                key = ".".join(filter(None, (table, _bare(found[1]))))
                self._note(block, key, "", number)
                rest = line[found.end() :]
            for word in _WORD.finditer(rest):
                self._note(block, key, word[1] if word[1] is not None else word[2], number)
            for inner in re.finditer(r"([\w-]+)\s*=\s*\[?", rest):  # of a table that is written in one line
                self._note(block, f"{key}.{inner[1]}", "", number)

    def _note(self, block: str, key: str, word: str, line: int) -> None:
        self._found.setdefault((block, key, word), line)

    def line(self, block: str, key: str = "", word: str = "") -> int:
        """Returns the line of a word of a key, else of the key, else of its block; "": what is outside of blocks."""
        group = key.partition(".")[0]
        places = ((block, key, word), (block, group, word), (block, key, ""), (block, group, ""), (block, "", ""))
        return next((self._found[place] for place in places if place in self._found), 0)


def _nth(name: str, index: int) -> str:
    """What stands for one of the blocks of a name."""
    return f"{name}[{index}]"


def _bare(name: str) -> str:
    return re.sub(r"[\"' ]", "", name)


class _Reader:
    def __init__(self, path: Path, places: _Places) -> None:
        self._path = path
        self._places = places

    def policy(self, content: Mapping[str, Any]) -> Policy:
        for name in content:
            if name not in (_ALLOW, _LIMIT):
                self._unknown(self._places.line("", name), name, (_ALLOW, _LIMIT))
        allowing = [self._allowing(each, block) for each, block in self._blocks(content, _ALLOW)]
        return Policy(allowing, [self._limiting(each, block) for each, block in self._blocks(content, _LIMIT)])

    def _blocks(self, content: Mapping[str, Any], name: str) -> list[tuple[str, Mapping[str, Any]]]:
        blocks = content.get(name, [])
        if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
            raise _wrong(self._path, self._places.line("", name), f"{name} must be blocks that begin with [[{name}]]")
        return [(_nth(name, index), block) for index, block in enumerate(blocks)]

    def _who(self, index: str, block: Mapping[str, Any]) -> list[str]:
        if "who" not in block:
            raise _wrong(self._path, self._places.line(index), "the block does not say who")
        who = [entry.text for entry in self._entries(index, "who", block["who"])]
        if not who or not all(who):
            raise _wrong(self._path, self._places.line(index, "who"), "who names nobody")
        return who

    def _limiting(self, index: str, block: Mapping[str, Any]) -> LimitBlock:
        figures: dict[str, float] = {}
        for key, value in block.items():
            if key == "who":
                continue
            if key not in _FIGURES:
                self._unknown(self._places.line(index, key), key, (*_FIGURES, "who"))
            is_number = isinstance(value, int if key in NUMBERS else int | float) and not isinstance(value, bool)
            if not (is_number and value > 0) and value != math.inf:
                wanted = "a whole number of at least 1" if key in NUMBERS else "a number above 0"
                raise _wrong(
                    self._path, self._places.line(index, key), f"{key} is {value!r}, it must be {wanted}, or inf"
                )
            figures[key] = value
        rates = {}
        for name in RATES:
            per_second, burst = figures.get(f"{name}_per_second"), figures.get(f"{name}_burst")
            if per_second is not None:
                rates[name] = Rate(per_second, max(1.0, per_second) if burst is None else burst)
            elif burst is not None:
                line = self._places.line(index, f"{name}_burst")
                raise _wrong(self._path, line, f"{name}_burst is set without {name}_per_second")
        return LimitBlock(
            self._who(index, block), Limits(rates, {name: figures[name] for name in NUMBERS if name in figures})
        )

    def _allowing(self, index: str, block: Mapping[str, Any]) -> Block:
        line = self._places.line(index)
        rights: dict[str, list[Entry]] = {}
        who = self._who(index, block)
        on_behalf_of = False
        for key, value in block.items():
            if key == "who":
                continue
            if key == "on_behalf_of":
                if not isinstance(value, bool):
                    raise _wrong(self._path, self._places.line(index, key), "on_behalf_of must be true or false")
                on_behalf_of = value
            elif key in _GROUPS and isinstance(value, dict):
                for verb, listed in value.items():
                    rights[f"{key}.{verb}"] = self._checked(index, f"{key}.{verb}", listed)
            else:
                rights[key] = self._checked(index, key, value)
        return Block(who, rights, on_behalf_of, line)

    def _checked(self, index: str, right: str, value: Any) -> list[Entry]:
        form = RIGHTS.get(right)
        if form is None:
            self._unknown(self._places.line(index, right), right, (*RIGHTS, "who", "on_behalf_of"))
        entries = self._entries(index, right, value)
        for entry in entries:
            if wrong := _fault(form, entry.text):
                raise _wrong(self._path, entry.line, f"{right}: {wrong}")
        return entries

    def _entries(self, index: str, key: str, value: Any) -> list[Entry]:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise _wrong(self._path, self._places.line(index, key), f"{key} must be a list of texts")
        return [Entry(each, self._places.line(index, key, each)) for each in value]

    def _unknown(self, line: int, word: str, known: Iterable[str]) -> Any:
        meant = difflib.get_close_matches(word, [*known], 1, cutoff=0.6)
        hint = f"; did you mean {meant[0]!r}?" if meant else ""
        raise _wrong(self._path, line, f"{word!r} is unknown{hint}")


def _fault(form: Form | None, text: str) -> str:
    """Returns what is wrong with an entry; empty: nothing."""
    if form is Form.WORDS:
        return "" if text in INSPECTED else f"{text!r} is unknown: it can be {', '.join(INSPECTED)}"
    bare = text.replace(IDENTITY, "x")
    if "{" in bare or "}" in bare:
        return f"{text!r} has a template that is unknown: there is {IDENTITY} alone"
    if form is Form.PATTERNS:
        try:
            check_pattern(bare)
        except InvalidChannelError as error:
            return error.message.replace(repr(bare), repr(text))
    elif form is Form.RECORDS:
        kind, _, id = text.partition("/")
        if kind != ANY and kind not in RECORD_KINDS:
            return f"{text!r}: {kind!r} is no kind: it can be {', '.join(RECORD_KINDS)} or {ANY}"
        if not id:
            return f"{text!r} names no record: it must be of the form KIND/ID, such as {kind}/{ANY}"
    return "" if text else "a name is empty"


def _wrong(path: Path, line: int, wrong: str) -> AccessFileError:
    where = f"{path}, line {line}" if line else str(path)
    return AccessFileError(
        f"{where}: {wrong}", details={"setting": "access_file", "file": str(path), **({"line": line} if line else {})}
    )
