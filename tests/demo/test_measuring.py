"""What is measured, and that the review has no objections to it."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import pytest

from tests.demo.conftest import MODULE, MODULE_FIGURES
from trunkline.demo import sources
from trunkline.demo.measuring import PYTHON, UNPARSED, Figures, language_of, measure
from trunkline.demo.review_agent import objections

FILE = PurePath("module.py")


def _python(source: str) -> Figures:
    figures = measure(FILE, textwrap.dedent(source).encode())
    assert objections(FILE, textwrap.dedent(source).encode(), figures) == []
    return figures


def test_a_module_is_measured() -> None:
    """Lines, blank lines, comment lines, functions and classes of a module that was counted by hand."""
    figures = _python(MODULE)
    assert {name: getattr(figures, name) for name in MODULE_FIGURES} == MODULE_FIGURES
    assert (figures.language, figures.decisions) == (PYTHON, 5)
    assert (figures.max_complexity, figures.mean_complexity, figures.most_complex) == (4, 3.5, "grade")


@pytest.mark.parametrize(
    ("body", "complexity"),
    [
        ("pass", 1),
        ("if a: pass\n    elif b: pass\n    else: pass", 3),
        ("for x in a:\n        while b: pass", 3),
        ("try: pass\n    except ValueError: pass\n    except OSError: pass\n    finally: pass", 3),
        ("return a and b and c or d", 4),
        ("return a if b else c", 2),
        ("return [x for row in a if row for x in row if x]", 5),
        ("assert a", 2),
        ("match a:\n        case 1: pass\n        case [x, *_] if x: pass\n        case _: pass", 5),
        ("with a: pass", 1),
        ("return lambda: a or b", 2),
        ("def inner():\n        if b: pass\n    return inner", 1),
        ("return f'{a if b else c}'", 1),
        ("case = a\n    case.b = c\n    case(d)\n    return case", 1),
    ],
)
def test_complexity_counts_where_a_function_forks(body: str, complexity: int) -> None:
    """Each kind of fork counts once, in the function that it stands in, and adds up with those of the file."""
    source = f"def outer(a, b, c, d):\n    {body}\n"
    figures = measure(FILE, source.encode())
    assert objections(FILE, source.encode(), figures) == []
    outer = figures.max_complexity if "inner" not in body else round(figures.mean_complexity * figures.functions) - 2
    assert outer == complexity


@pytest.mark.parametrize(
    ("content", "lines", "blank", "comment"),
    [
        (b"", 0, 0, 0),
        (b"\n", 1, 1, 0),
        (b"x = 1", 1, 0, 0),
        (b"x = 1\n", 1, 0, 0),
        (b"x = 1\n\n", 2, 1, 0),
        (b"  \t\n# a\n  # b\nx = 1  # c\n", 4, 1, 2),
        (b"x = (1,\n# inside brackets\n2)\n", 3, 0, 1),
        (b"x = '#'\ny = '''\n# text\n'''\n", 4, 0, 0),
        (b"\xef\xbb\xbf# after a byte order mark\n", 1, 0, 1),
        (b"x = 1\r\n\r\n# Windows\r\n", 3, 1, 1),
    ],
)
def test_lines_are_counted(content: bytes, lines: int, blank: int, comment: int) -> None:
    """Empty files, missing ends, comments in and outside of strings."""
    figures = measure(FILE, content)
    assert (figures.lines, figures.blank, figures.comment) == (lines, blank, comment)
    assert objections(FILE, content, figures) == []


def test_python_that_does_not_parse_has_its_lines_counted() -> None:
    """Another Python's source is no error."""
    content = b"print 'Python 2'\n# a comment\n"
    assert measure(FILE, content) == Figures(UNPARSED, 2, 0, 1)
    assert objections(FILE, content, measure(FILE, content)) == []


@pytest.mark.parametrize(
    ("name", "language", "content", "comment"),
    [
        ("a.proto", "Protobuf", b"// one\nmessage A {}\n  // two\n", 2),
        ("a.sql", "SQL", b"-- one\nSELECT 1\n", 1),
        ("Makefile", "Make", b"# one\nall:\n", 1),
        ("a.md", "Markdown", b"# no comment\n", 0),
        ("LICENSE", "other", b"# no comment\n", 0),
    ],
)
def test_other_languages_have_their_comment_lines_counted(
    name: str, language: str, content: bytes, comment: int
) -> None:
    """By the file's name, with the language's own mark."""
    figures = measure(PurePath(name), content)
    assert (language_of(PurePath(name)), figures.language, figures.comment) == (language, language, comment)
    assert objections(PurePath(name), content, figures) == []


@pytest.mark.parametrize("field", ["lines", "blank"])
def test_a_wrong_figure_is_objected_to(field: str) -> None:
    """The review names the figure, what was measured and what it counted."""
    figures = measure(FILE, MODULE.encode())
    right = getattr(figures, field)
    wrong = replace(figures, **{field: right + 1})
    assert objections(FILE, MODULE.encode(), wrong) == [f"{field}: measured {right + 1}, recounted {right}"]


@pytest.mark.parametrize(
    ("wrong", "objection"),
    [
        ({"max_complexity": 7}, "complexity: mean 3.5 and max 7 cannot be"),
        ({"decisions": 4}, "complexity: mean 3.5 and max 4 cannot be"),
        ({"functions": 0}, "complexity: mean 3.5 and max 4 cannot be"),
        ({"functions": 3}, "complexity: mean 3.5 and max 4 cannot be"),
        ({"classes": 10}, "functions and classes: 2 and 10 cannot be"),
        ({"comment": 13}, "comment: 13 beside 6 blank lines cannot be"),
        ({"language": "Go"}, "language: Go of a file that is Python"),
    ],
)
def test_figures_that_cannot_be_are_objected_to(wrong: dict[str, Any], objection: str) -> None:
    """No function has more than all decisions of its file and 1, and parts are no more than their whole."""
    assert objection in objections(FILE, MODULE.encode(), replace(measure(FILE, MODULE.encode()), **wrong))


def test_there_are_no_objections_to_figures_of_the_projects_own_sources() -> None:
    """All that a newcomer sees when they start the demo without a folder."""
    found = sources.find(Path(sources.__file__).parent.parent, 400)
    assert len(found.paths) > 100
    for path in found.paths:
        content = (found.root / path).read_bytes()
        assert objections(PurePath(path), content, measure(PurePath(path), content)) == [], path
