"""Report: what came of a run, judged by what the state service holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from trunkline import AgentState, TaskResult, TaskStatus
from trunkline.demo.accident import Killed
from trunkline.demo.kept import Kept
from trunkline.demo.ledger import Again
from trunkline.demo.posts import Job, Post
from trunkline.demo.sources import Sources
from trunkline.demo.traffic import Traffic

COUNTS: Final = ("lines", "blank", "comment", "functions", "classes")
MOST_COMPLEX: Final = 8


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds: of the start, of the work itself, in how much of that the coordinator heard nothing (the bus was coming
    back, or the leases of the dead had to end), and of the whole run until the report."""

    start_seconds: float
    work_seconds: float
    waited_seconds: float
    total_seconds: float


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent's part. What it published, received and saved stands in its last stored state; one that was killed
    could not bring that up to date."""

    name: str
    kind: str
    way: str
    status: str
    files: int
    published: int
    received: int
    saves: int


@dataclass(frozen=True, slots=True)
class Report:
    """All that the tables and the JSON say."""

    workflow_id: str
    folder: str
    files: int
    beyond: int
    skipped: int
    problems: list[str]
    totals: dict[str, int]
    languages: list[dict[str, Any]]
    most_complex: list[dict[str, Any]]
    agents: list[Agent]
    receipts: int
    """Tasks that the bus confirmed to be on disk."""
    lost: int
    """Of those, how many came to nothing, and are not kept any more."""
    kept: list[Kept]
    killed: list[Killed]
    handed_out_again: list[Again]
    duplicates_refused: int
    rejections: int
    traffic: Traffic
    speed: Speed

    @property
    def is_good(self) -> bool:
        """Whether every file was done exactly once in the stored results, and nothing was lost."""
        return not self.problems and not self.lost

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"ok": self.is_good, **asdict(self)}


def problems(job: Job, sources: Sources, results: Iterable[TaskResult]) -> list[str]:
    """Why the stored results of a run are not one good one for each file; empty where they are.

    A store holds one record for an id, and the id is the file: what can go wrong is a result that is missing, failed,
    or of a file that is not in the run.
    """
    stored = {job.path_of(result.task_id): result for result in results}
    missing = [path for path in sources.paths if path not in stored]
    strange = sorted(str(path) for path in stored if path not in set(sources.paths))
    found = []
    if missing:
        found.append(f"{len(missing)} of {len(sources.paths)} files have no stored result: {_some(missing)}")
    for path, result in stored.items():
        if result.status != TaskStatus.COMPLETED:
            found.append(f"{path} is stored as {result.status}: {result.error_message}")
    if strange:
        found.append(f"stored results of files that were not asked for: {_some(strange)}")
    return found


def lost(job: Job, receipted: Iterable[str], results: Iterable[TaskResult], kept: Iterable[Kept]) -> int:
    """How many files have a receipt and no stored result, not even one that says why it failed, though the bus keeps
    nothing of them: what a run that was too short did not come to is not lost."""
    missing = set(receipted) - {job.path_of(result.task_id) for result in results}
    return max(0, len(missing) - sum(each.open for each in kept))


def languages(results: Iterable[TaskResult]) -> list[dict[str, Any]]:
    """Sums by language, the one with most lines first."""
    sums: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(("files", *COUNTS), 0))
    for figures in _figures(results):
        row = sums[figures["language"]]
        row["files"] += 1
        for name in COUNTS:
            row[name] += figures[name]
    rows = [{"language": language, **row} for language, row in sums.items()]
    return sorted(rows, key=lambda row: (-int(row["lines"]), row["language"]))


def most_complex(job: Job, results: Iterable[TaskResult]) -> list[dict[str, Any]]:
    """The files with the most complex functions, worst first."""
    rows: list[dict[str, Any]] = [
        {"path": job.path_of(result.task_id), **result.output_data}
        for result in results
        if result.output_data.get("functions")
    ]
    return sorted(rows, key=lambda row: (-row["max_complexity"], row["path"]))[:MOST_COMPLEX]


def agents(posts: Iterable[Post], states: Iterable[AgentState], results: Iterable[TaskResult]) -> list[Agent]:
    """Each agent's part: files whose stored result it coded or reviewed."""
    states_by_id = {state.agent_id: state for state in states}
    files: dict[str, int] = defaultdict(int)
    for result in results:
        files[result.agent_id] += 1
        files[str(result.metadata.get("reviewed_by"))] += 1
    rows = []
    for post in posts:
        state = states_by_id.get(post.agent_id)
        counts: dict[str, Any] = state.metadata if state else {}
        rows.append(
            Agent(
                name=post.name,
                kind=post.kind,
                way=post.way,
                status=str(state.status) if state else "unknown",
                files=files[post.agent_id],
                published=counts.get("published", 0),
                received=counts.get("received", 0),
                saves=counts.get("saves", 0),
            )
        )
    return rows


def _figures(results: Iterable[TaskResult]) -> list[dict[str, Any]]:
    return [result.output_data for result in results if result.status == TaskStatus.COMPLETED]


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:3]) + (", …" if len(paths) > 3 else "")
