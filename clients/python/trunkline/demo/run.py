"""Run: one run of the demo from the first program's start to the report."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from trunkline import AgentType, TaskResult, WorkflowPhase
from trunkline.demo import kept, report
from trunkline.demo.accident import Accident
from trunkline.demo.audit import audit
from trunkline.demo.coordinator import Coordinator
from trunkline.demo.ledger import Ledger
from trunkline.demo.limits import CALL_SECONDS, RUN_SECONDS
from trunkline.demo.narrator import Narrator
from trunkline.demo.posts import Job
from trunkline.demo.programs import Addresses, Running, addresses_of, local_stack
from trunkline.demo.progress import Watcher
from trunkline.demo.report import Report, Speed
from trunkline.demo.sources import Sources
from trunkline.demo.team import Member, Team, plan
from trunkline.demo.traffic import Meter
from trunkline.demo.workflow import Workflow
from trunkline.programs import LocalStack, Program
from trunkline.sync import MessageBus, StateManager


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run goes.

    Args:
        threads, processes: coding agents of each kind.
        kill: whether one that is a process is killed half-way, and the bus itself with it.
        seconds: what the work itself may take, the start and the report left out.
    """

    threads: int = 2
    processes: int = 2
    kill: bool = True
    seconds: float = RUN_SECONDS


def run(sources: Sources, options: RunOptions, running: Running, narrator: Narrator) -> Report:
    """Runs it, and leaves nothing behind.

    Raises:
        ProgramError: a program or an agent could not be started.
        TrunklineError: a service went away for good.
    """
    began = time.monotonic()
    job = Job(f"demo-{secrets.token_hex(3)}", sources.root)
    with local_stack(running) as stack:
        addresses = addresses_of(stack, running)
        _introduce(addresses, narrator)
        if running.bus or running.state:
            narrator.say("Of programs that ran already, the counts below hold what others did meanwhile too.", "dim")
        try:
            with (
                MessageBus(addresses.bus) as bus,
                StateManager(addresses.state, timeout=CALL_SECONDS) as state,
                Watcher(job, len(sources.paths), addresses.state, narrator),
            ):
                return _work(_Stage(job, sources, options, stack, addresses, bus, state, narrator, began))
        finally:
            if "bus" not in stack.programs:
                kept.forget(addresses.bus, job)


@dataclass(frozen=True, slots=True)
class _Stage:
    """What the run has, once the programs are there."""

    job: Job
    sources: Sources
    options: RunOptions
    stack: LocalStack
    addresses: Addresses
    bus: MessageBus
    state: StateManager
    narrator: Narrator
    began: float


def _introduce(addresses: Addresses, narrator: Narrator) -> None:
    narrator.say(f"bus          {addresses.bus}", "dim")
    narrator.say(f"state        {addresses.state}", "dim")
    narrator.say(f"sidecar      {addresses.sidecar}, lines of JSON on {addresses.socket}", "dim")


def _work(stage: _Stage) -> Report:
    """The three phases: the files are measured and reviewed; what is stored is checked; counts are read."""
    addresses = stage.addresses
    posts = plan(stage.job, addresses, stage.options.threads, stage.options.processes)
    meter = Meter(addresses)
    ledger = Ledger(stage.sources.paths)
    workflow = Workflow(stage.job, stage.state, folder=str(stage.sources.root), files=ledger.total)
    coordinator = Coordinator(stage.job, ledger, addresses, stage.bus, stage.state, stage.narrator, stage.stack.check)
    with Team(posts, addresses, stage.bus) as team:
        accident = _accident(stage, team, meter)
        started = time.monotonic()
        text = f"{ledger.total} files for {len(posts)} agents, ready after {started - stage.began:.1f} s"
        stage.narrator.phase(WorkflowPhase.DEVELOPMENT, text)
        workflow.enter(WorkflowPhase.DEVELOPMENT, files=ledger.total)
        in_time = coordinator.run(team, accident, started + stage.options.seconds)
        worked = time.monotonic() - started
        accident.end()
        if stage.options.kill:
            _warn_of_survivors(accident, stage)
        wrong = audit(stage.job, stage.bus, stage.narrator) if in_time else []
        team.stop()
        coordinator.settle()
    kept_by_bus = kept.read(addresses.bus, stage.job)
    results = _results(stage)
    problems = [*report.problems(stage.job, stage.sources, results), *wrong]
    if not in_time:
        problems.insert(0, f"the work was not done within {stage.options.seconds:g} s")
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
        receipts=len(ledger.receipts),
        lost=report.lost(stage.job, ledger.receipts, results, kept_by_bus),
        kept=kept_by_bus,
        killed=accident.killed,
        handed_out_again=ledger.again,
        duplicates_refused=coordinator.duplicates,
        rejections=coordinator.rejections,
        traffic=meter.total(),
        speed=Speed(started - stage.began, worked, coordinator.waited, time.monotonic() - stage.began),
    )


def _accident(stage: _Stage, team: Team, meter: Meter) -> Accident:
    if not stage.options.kill:
        return Accident(None, None)
    bus = stage.stack.programs.get("bus")
    return Accident(_victim(team), (lambda: meter.over(lambda: _restart(bus))) if bus is not None else None)


def _restart(bus: Program) -> int:
    """Kills the bus as a crash would, and starts it again: on the same address, with the same file. Returns the
    process id of the one that was killed."""
    pid = bus.pid
    bus.restart()
    return pid


def _warn_of_survivors(accident: Accident, stage: _Stage) -> None:
    """Warns, with the reason, of what should have been killed and was not."""
    names = {killed.name for killed in accident.killed}
    if not names - {"bus"}:
        stage.narrator.warn("no agent was killed: none is a process and codes, or there was no second half")
    if "bus" not in stage.stack.programs:
        stage.narrator.warn("the bus was not killed: it ran already, and others may use it")
    elif "bus" not in names:
        stage.narrator.warn("the bus was not killed: there was no second half")


def _victim(team: Team) -> Member | None:
    """The first coding agent that is a process; None where there is none."""
    candidates = (each for each in team.members if (each.post.type, each.post.kind) == (AgentType.CODING, "process"))
    return next(candidates, None)


def _results(stage: _Stage) -> list[TaskResult]:
    """All that the state service holds of this run, in order of the files."""
    return [each for each in stage.state.list_task_results() if stage.job.path_of(each.task_id) is not None]


def _verdict(problems: list[str]) -> str:
    return "; ".join(problems) or "all there"
