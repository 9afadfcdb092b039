"""Recounting: how a review agent checks figures, by other ways than those that they were measured by.

Lines by regular expressions over the bytes; comments by scanning past strings; functions, classes and decisions by
Python's tokens, where the measuring walked its syntax tree.
"""

from __future__ import annotations

import ast
import io
import keyword
import re
import tokenize
from collections.abc import Iterator
from pathlib import PurePath
from typing import Final

from trunkline.demo.measuring import COMMENT_MARKS, PYTHON, UNPARSED, Figures, language_of

_LINE: Final = re.compile(rb"[^\n]*\n|[^\n]+\Z")
_BLANK: Final = re.compile(rb"^[ \t\r\f\v]*(?:\n|\Z)", re.MULTILINE)
_STRING_OR_COMMENT: Final = re.compile(
    rb"""("{3}|'{3})(?:\\.|.)*?\1|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|(?P<comment>\#[^\n]*)""", re.DOTALL
)
_FORKS: Final = frozenset({"if", "elif", "for", "while", "except", "and", "or", "assert"})
_TEXT_STARTS: Final = frozenset(getattr(tokenize, name, -1) for name in ("FSTRING_START", "TSTRING_START"))
_TEXT_ENDS: Final = frozenset(getattr(tokenize, name, -1) for name in ("FSTRING_END", "TSTRING_END"))
_LAYOUT: Final = frozenset({tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING})


def objections(path: PurePath, content: bytes, figures: Figures) -> list[str]:
    """What is wrong with a file's figures, in words; empty where they are right."""
    found: dict[str, object] = {
        "language": _language(path, content),
        "lines": len(_LINE.findall(content)),
        "blank": sum(bool(match.group()) for match in _BLANK.finditer(content)),
    }
    if found["language"] == PYTHON:
        found["comment"] = _python_comments(content)
        found |= _count_tokens(content)
    else:
        found["comment"] = _comments(content, COMMENT_MARKS.get(str(found["language"])))
    wrong = [
        f"{name}: measured {getattr(figures, name)}, recounted {count}"
        for name, count in found.items()
        if getattr(figures, name) != count
    ]
    return wrong or _implausible(figures)


def _implausible(figures: Figures) -> list[str]:
    """No function has less than 1, and none more than all decisions of the file and 1."""
    mean, worst = figures.mean_complexity, figures.max_complexity
    right = 1 <= mean <= worst <= 1 + figures.decisions if figures.functions else mean == worst == 0
    return [] if right else [f"complexity: mean {mean:g} and max {worst} cannot be"]


def _language(path: PurePath, content: bytes) -> str:
    language = language_of(path)
    if language == PYTHON:
        try:
            compile(content, "", "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError):
            return UNPARSED
    return language


def _comments(content: bytes, mark: bytes | None) -> int:
    if mark is None:
        return 0
    return len(re.findall(rb"^[ \t\r\f\v]*" + re.escape(mark), content, re.MULTILINE))


def _python_comments(content: bytes) -> int:
    count = 0
    for match in _STRING_OR_COMMENT.finditer(content):
        start = match.start("comment")
        if start >= 0 and not content[content.rfind(b"\n", 0, start) + 1 : start].strip(b" \t\f\xef\xbb\xbf"):
            count += 1
    return count


def _count_tokens(content: bytes) -> dict[str, int]:
    counts = {"functions": 0, "classes": 0, "decisions": 0}
    for statement in _statements(content):
        words = [token.string for token in statement if token.type == tokenize.NAME]
        counts["functions"] += words.count("def")
        counts["classes"] += words.count("class")
        counts["decisions"] += sum(word in _FORKS for word in words) + _is_case(statement)
    return counts


def _statements(content: bytes) -> Iterator[list[tokenize.TokenInfo]]:
    """The tokens of each logical line, f-strings left out."""
    statement: list[tokenize.TokenInfo] = []
    depth = 0
    for token in tokenize.tokenize(io.BytesIO(content).readline):
        if token.type in _TEXT_STARTS:
            depth += 1
        elif token.type in _TEXT_ENDS:
            depth -= 1
        elif token.type in (tokenize.NEWLINE, tokenize.ENDMARKER):
            yield statement
            statement = []
        elif not depth and token.type not in _LAYOUT:
            statement.append(token)


def _is_case(statement: list[tokenize.TokenInfo]) -> bool:
    """Whether a logical line is a `case`: a word that is also a common name."""
    if len(statement) < 3 or statement[0].string != "case":
        return False
    follower = statement[1]
    if follower.type == tokenize.OP and follower.string not in ("(", "[", "{", "-", "*"):
        return False
    if follower.type == tokenize.NAME and keyword.iskeyword(follower.string):
        return follower.string in ("None", "True", "False")
    depth = 0
    for token in statement[1:]:
        depth += (token.string in ("(", "[", "{")) - (token.string in (")", "]", "}"))
        if token.string == ":" and not depth:
            return True
    return False
