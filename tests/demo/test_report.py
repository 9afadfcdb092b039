"""The verdict on what the state service holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline import TaskResult, TaskStatus
from trunkline.demo.kept import Kept
from trunkline.demo.posts import Job
from trunkline.demo.report import languages, lost, most_complex, problems
from trunkline.demo.sources import Sources

JOB = Job("demo-1", Path("/made"))
SOURCES = Sources(JOB.root, ("a.py", "b.py"), beyond=0, skipped=0)


def _result(path: str, status: TaskStatus = TaskStatus.COMPLETED, **figures: object) -> TaskResult:
    output = {
        "language": "Python",
        **dict.fromkeys(("lines", "blank", "comment", "functions", "classes", "max_complexity"), 0),
        **figures,
    }
    return TaskResult(task_id=JOB.task_id(path), agent_id="x", status=status, output_data=output, error_message="why")


def test_one_good_result_for_each_file_is_no_problem() -> None:
    """Whatever else there is to say."""
    assert problems(JOB, SOURCES, [_result("a.py"), _result("b.py")]) == []


@pytest.mark.parametrize(
    ("results", "problem"),
    [
        ([_result("a.py")], "1 of 2 files have no stored result: b.py"),
        ([_result("a.py"), _result("b.py", TaskStatus.FAILED)], "b.py is stored as failed: why"),
        (
            [_result("a.py"), _result("b.py"), _result("c.py")],
            "stored results of files that were not asked for: c.py",
        ),
    ],
)
def test_anything_else_is_a_problem(results: list[TaskResult], problem: str) -> None:
    """Missing, failed, and not asked for."""
    assert problems(JOB, SOURCES, results) == [problem]


def test_a_receipt_without_any_result_is_lost_unless_the_bus_still_keeps_it() -> None:
    """One that failed is known to have failed; a file without a receipt was never taken."""
    nothing, something = Kept("coding", 2, 0, 2, 0, open=0), Kept("coding", 1, 0, 1, 0, open=1)
    assert lost(JOB, ["a.py", "b.py"], [_result("a.py"), _result("b.py", TaskStatus.FAILED)], [nothing]) == 0
    assert lost(JOB, ["a.py", "b.py"], [_result("a.py"), _result("c.py")], [nothing]) == 1
    assert lost(JOB, ["a.py", "b.py"], [_result("a.py")], [something]) == 0
    assert lost(JOB, [], [], [nothing]) == 0


def test_figures_are_summed_by_language_and_failed_files_left_out() -> None:
    """The language with most lines first."""
    results = [
        _result("a.py", lines=3),
        _result("b.py", lines=4),
        _result("c.md", language="Markdown", lines=9),
        _result("d.py", TaskStatus.FAILED, lines=100),
    ]
    assert [(row["language"], row["files"], row["lines"]) for row in languages(results)] == [
        ("Markdown", 1, 9),
        ("Python", 2, 7),
    ]


def test_the_most_complex_files_come_first() -> None:
    """Those without functions do not come at all."""
    results = [
        _result("a.py", functions=1, max_complexity=2),
        _result("b.py", functions=1, max_complexity=7),
        _result("c.md"),
    ]
    assert [row["path"] for row in most_complex(JOB, results)] == ["b.py", "a.py"]
