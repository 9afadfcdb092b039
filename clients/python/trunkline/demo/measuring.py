"""Measuring: what a coding agent finds out about one file. Standard library only: the external program uses it too.

Lines are what newline characters end, and an unended rest. A comment line holds nothing but a comment. A file's
decisions are where its way forks: `if` (also conditional expressions, filters and guards), `for` (also in
comprehensions), `while`, `except`, `and`, `or`, `assert`, `case`. A function's complexity is 1 and its decisions, those
of functions and classes inside it left out (T. McCabe, "A Complexity Measure", 1976). f-strings count as text.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

PYTHON: Final = "Python"
UNPARSED: Final = "Python (not parsed)"
"""It has Python's suffix and is not this Python's: only its lines are counted."""

LANGUAGES: Final = {
    **dict.fromkeys((".py", ".pyi"), PYTHON),
    ".proto": "Protobuf",
    ".md": "Markdown",
    ".toml": "TOML",
    **dict.fromkeys((".yaml", ".yml"), "YAML"),
    ".json": "JSON",
    ".sh": "Shell",
    ".go": "Go",
    **dict.fromkeys((".ts", ".tsx"), "TypeScript"),
    **dict.fromkeys((".js", ".jsx", ".mjs"), "JavaScript"),
    ".java": "Java",
    ".rs": "Rust",
    **dict.fromkeys((".c", ".h"), "C"),
    **dict.fromkeys((".cc", ".cpp", ".hpp"), "C++"),
    ".sql": "SQL",
    ".html": "HTML",
    ".css": "CSS",
}
NAMES: Final = {"Makefile": "Make", "Dockerfile": "Docker"}

COMMENT_MARKS: Final = {
    **dict.fromkeys((PYTHON, UNPARSED, "TOML", "YAML", "Shell", "Make", "Docker"), b"#"),
    **dict.fromkeys(("Protobuf", "Go", "TypeScript", "JavaScript", "Java", "Rust", "C", "C++"), b"//"),
    "SQL": b"--",
}
"""What a comment line begins with. Of other languages, and of comments over several lines, none are counted."""

_FORKS = (
    *(ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While),
    *(ast.ExceptHandler, ast.Assert, ast.match_case),
)
_TEXT = tuple(getattr(ast, name) for name in ("JoinedStr", "TemplateStr") if hasattr(ast, name))
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Figures:
    """What was found in one file. Beside the lines, all are 0 for what is not Python."""

    language: str
    lines: int
    blank: int
    comment: int
    functions: int = 0
    classes: int = 0
    decisions: int = 0
    max_complexity: int = 0
    mean_complexity: float = 0.0
    most_complex: str = ""
    """The name of the function with `max_complexity`; the first of several."""


def language_of(path: PurePath) -> str:
    """By its name; "other" where that says nothing."""
    return NAMES.get(path.name) or LANGUAGES.get(path.suffix.lower(), "other")


def measure(path: PurePath, content: bytes) -> Figures:
    """Measures a file's content."""
    language = language_of(path)
    if language == PYTHON:
        try:
            return _measure_python(content)
        except (SyntaxError, ValueError, RecursionError):  # not this Python's, or NUL bytes, or nested too deep
            language = UNPARSED
    mark = COMMENT_MARKS.get(language)
    lines = split_lines(content)
    comment = sum(line.lstrip().startswith(mark) for line in lines) if mark else 0
    return Figures(language, len(lines), _blank(lines), comment)


def split_lines(content: bytes) -> list[bytes]:
    """A file's lines without their ends."""
    lines = content.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _measure_python(content: bytes) -> Figures:
    tree = ast.parse(content)
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    complexity = [1 + _decisions(node) for node in functions]
    worst = max(complexity, default=0)
    lines = split_lines(content)
    return Figures(
        language=PYTHON,
        lines=len(lines),
        blank=_blank(lines),
        comment=_comment_lines(content),
        functions=len(functions),
        classes=sum(isinstance(node, ast.ClassDef) for node in ast.walk(tree)),
        decisions=sum(_forks(node) for node in _outside_text(tree)),
        max_complexity=worst,
        mean_complexity=sum(complexity) / len(complexity) if complexity else 0.0,
        most_complex=functions[complexity.index(worst)].name if functions else "",
    )


def _blank(lines: list[bytes]) -> int:
    return sum(not line.strip() for line in lines)


def _comment_lines(content: bytes) -> int:
    tokens = tokenize.tokenize(io.BytesIO(content).readline)
    return sum(token.type == tokenize.COMMENT and token.line.lstrip().startswith("#") for token in tokens)


def _decisions(function: ast.AST) -> int:
    """Of a function itself."""
    count, waiting = 0, list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if not isinstance(node, (*_SCOPES, *_TEXT)):
            count += _forks(node)
            waiting += ast.iter_child_nodes(node)
    return count


def _outside_text(node: ast.AST) -> Iterator[ast.AST]:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, _TEXT):
            yield node
            waiting += ast.iter_child_nodes(node)


def _forks(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    if isinstance(node, ast.match_case):
        return 1 + (node.guard is not None)
    return int(isinstance(node, _FORKS))
