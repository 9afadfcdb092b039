"""Work: one kind of thing that is measured, against whom, and what is asked of us."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from scripts.bench.peer import Service
from scripts.bench.peers import OURS
from scripts.bench.questions import REDIS, SECURED
from scripts.bench.stage import Stage


@dataclass(frozen=True, slots=True)
class Measurement:
    """What came of one run.

    Args:
        value: in the work's unit.
        lost: messages that were sent and never came.
        cpu: microseconds of one core for each message, by role: `publisher` (who sends, asks, saves or reads), `broker`
            (the server) and `subscriber` (who receives or answers); or `both`, where one process sends and receives.
    """

    value: float
    lost: int = 0
    cpu: Mapping[str, float] = field(default_factory=dict)


def each(count: float, **seconds: float) -> Mapping[str, float]:
    """Microseconds for each message, of the seconds that roles used for so many."""
    return {role: used / count * 1e6 if count else 0.0 for role, used in seconds.items()}


@dataclass(frozen=True, slots=True)
class Work:
    """What each contender does, in turn.

    Args:
        name: what `--only` takes.
        title: for people. `{waiting}` in it stands for how many messages wait at ours.
        unit: of the figures.
        service: whose server is needed.
        rivals: the peers by the question that the comparison with them answers.
        measure: does one run on a stage.
        goals: the ratio that is asked of us beside a peer, where one is.
        ours: the peer by which we do it.
        smaller_is_better: for latencies; the ratio is then the peer's figure by ours. Ahead is always over 1.
        keeps: works that name the same folder here find in it what a contender's runs before left there; None: each run
            begins with an empty one.
    """

    name: str
    title: str
    unit: str
    service: Service
    rivals: Mapping[str, tuple[str, ...]]
    measure: Callable[[Stage], Awaitable[Measurement]]
    goals: Mapping[str, float] = field(default_factory=dict)
    ours: str = OURS
    smaller_is_better: bool = False
    keeps: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All rivals."""
        return tuple(name for names in self.rivals.values() for name in names)

    def question(self, rival: str) -> str:
        """The question that a rival answers; for one that is not named here, the first."""
        return next((question for question, names in self.rivals.items() if rival in names), next(iter(self.rivals)))

    def ratio(self, ours: float, peers: float) -> float:
        """How far we are ahead; below 1 we are behind."""
        return peers / ours if self.smaller_is_better else ours / peers


def over_redis(work: Work, name: str, goal: float) -> Work:
    """The same work where all is kept in Redis, beside redis-py on a Redis of the same settings."""
    peer = "redis-synced"
    return replace(
        work,
        name=name,
        title=f"{work.title}, over Redis",
        rivals={REDIS: (peer,)},
        goals={peer: goal},
        ours="trunkline-redis",
    )


def secured(work: Work, name: str) -> Work:
    """The same work with TLS and a token, beside ourselves without, and beside nats-py with and without."""
    return replace(
        work,
        name=name,
        rivals={SECURED: ("trunkline-open", "nats-secured", "nats")},
        goals={},
        ours="trunkline-secured",
    )
