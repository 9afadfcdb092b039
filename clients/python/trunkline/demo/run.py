"""Run: one run of the demo from the first program's start to the report."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from trunkline import AgentType, TaskResult, WorkflowPhase
from trunkline.demo import report, traffic
from trunkline.demo.accident import Accident
from trunkline.demo.coordinator import Coordinator
from trunkline.demo.ledger import Ledger
from trunkline.demo.limits import CALL_SECONDS, RUN_SECONDS
from trunkline.demo.narrator import Narrator
from trunkline.demo.posts import Job
from trunkline.demo.programs import Addresses, Programs, Running
from trunkline.demo.progress import Watcher
from trunkline.demo.report import Report, Speed
from trunkline.demo.sources import Sources
from trunkline.demo.team import Member, Team, plan
from trunkline.demo.workflow import Workflow
from trunkline.sync import MessageBus, StateManager


@dataclass(frozen=True, slots=True)
class Wishes:
    """What can be told.

    Args:
        threads, processes: coding agents of each kind.
        kill: whether one that is a process is killed half-way.
        seconds: what the work itself may take.
    """

    threads: int = 2
    processes: int = 2
    kill: bool = True
    seconds: float = RUN_SECONDS


def run(sources: Sources, wishes: Wishes, running: Running, narrator: Narrator) -> Report:
    """Runs it, and leaves nothing behind.

    Raises:
        ProgramError: a program or an agent could not be started.
        TrunklineError: a service went away for good.
    """
    began = time.monotonic()
    job = Job(f"demo-{secrets.token_hex(3)}", sources.root)
    with Programs(running) as programs:
        addresses = programs.addresses
        _introduce(addresses, narrator)
        if running.bus or running.state:
            narrator.say("Of programs that ran already, the counts below hold what others did meanwhile too.", "dim")
        with (
            MessageBus(addresses.bus) as bus,
            StateManager(addresses.state, timeout=CALL_SECONDS) as state,
            Watcher(job, len(sources.paths), addresses.state, narrator),
        ):
            return _work(_Stage(job, sources, wishes, programs, bus, state, narrator, began))


@dataclass(frozen=True, slots=True)
class _Stage:
    """What the run has, once the programs are there."""

    job: Job
    sources: Sources
    wishes: Wishes
    programs: Programs
    bus: MessageBus
    state: StateManager
    narrator: Narrator
    began: float


def _introduce(addresses: Addresses, narrator: Narrator) -> None:
    narrator.say(f"bus          {addresses.bus}", "dim")
    narrator.say(f"state        {addresses.state}", "dim")
    narrator.say(f"sidecar      {addresses.sidecar}, lines of JSON on {addresses.socket}", "dim")


def _work(stage: _Stage) -> Report:
    """The three phases: the files are measured and reviewed; what is stored is checked; the programs are asked."""
    posts = plan(stage.job, stage.programs.addresses, stage.wishes.threads, stage.wishes.processes)
    before = traffic.read(stage.programs.addresses)
    ledger = Ledger(stage.sources.paths)
    workflow = Workflow(stage.job, stage.state, folder=str(stage.sources.root), files=ledger.total)
    coordinator = Coordinator(stage.job, ledger, stage.bus, stage.state, stage.narrator)
    with Team(posts, stage.programs.addresses, stage.bus) as team:
        accident = Accident(_victim(team) if stage.wishes.kill else None)
        started = time.monotonic()
        text = f"{ledger.total} files for {len(posts)} agents, ready after {started - stage.began:.1f} s"
        stage.narrator.phase(WorkflowPhase.DEVELOPMENT, text)
        workflow.enter(WorkflowPhase.DEVELOPMENT, files=ledger.total)
        in_time = coordinator.run(team, accident, started + stage.wishes.seconds, stage.programs.check)
        worked = time.monotonic() - started
        if stage.wishes.kill and accident.killed is None:
            stage.narrator.warn(
                "nobody was killed: there is no coding agent that is a process, or no work in the second half"
            )
        team.stop()
        coordinator.settle()
    results = _results(stage)
    problems = report.problems(stage.job, stage.sources, results)
    if not in_time:
        problems.insert(0, f"the work was not done within {stage.wishes.seconds:g} s")
    stage.narrator.phase(WorkflowPhase.DEVOPS, f"{len(results)} stored results, one for a file; {_verdict(problems)}")
    workflow.enter(WorkflowPhase.DEVOPS, results=len(results))
    stage.narrator.phase(WorkflowPhase.MONITORING, "what the programs counted")
    workflow.enter(WorkflowPhase.MONITORING)
    workflow.end(problems, coordinator.rejections)
    rows = report.languages(results)
    return Report(
        workflow_id=stage.job.id,
        folder=str(stage.sources.root),
        files=ledger.total,
        beyond=stage.sources.beyond,
        skipped=stage.sources.skipped,
        problems=problems,
        totals={name: sum(int(row[name]) for row in rows) for name in ("files", *report.COUNTS)},
        languages=rows,
        most_complex=report.most_complex(stage.job, results),
        agents=report.agents(posts, stage.state.list_agent_states(), results),
        killed=accident.killed,
        handovers=ledger.handovers,
        duplicates_refused=coordinator.duplicates,
        rejections=coordinator.rejections,
        traffic=traffic.read(stage.programs.addresses).since(before),
        speed=Speed(started - stage.began, worked, coordinator.waited, time.monotonic() - stage.began),
    )


def _victim(team: Team) -> Member | None:
    """The first coding agent that is a process; None where there is none."""
    candidates = (each for each in team.members if (each.post.type, each.post.kind) == (AgentType.CODING, "process"))
    return next(candidates, None)


def _results(stage: _Stage) -> list[TaskResult]:
    """All that the state service holds of this run, in order of the files."""
    return [each for each in stage.state.list_task_results() if stage.job.path_of(each.task_id) is not None]


def _verdict(problems: list[str]) -> str:
    return "; ".join(problems) or "all there"
