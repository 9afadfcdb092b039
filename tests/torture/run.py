"""A torture run: everything works and is killed at random; then it settles, and is judged."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

from tests.torture import endings
from tests.torture.audit import Verdict, Wrong, audit
from tests.torture.crew import LEASE_SECONDS, Crew
from tests.torture.endings import CRASH_CODE
from tests.torture.handler import KINDS, Face, durables_of
from tests.torture.ledger import Buried, Found, Probed, read, read_all
from tests.torture.work import PATTERN, SETTINGS, channel_of, compose, probe
from trunkline import GrpcMessageBus
from trunkline.v1 import bus_pb2_grpc, durable_pb2, state_pb2, state_pb2_grpc

GROUPS: Final = ("workers", "archive")
SERVICES: Final = ("bus", "state", "sidecar")
STANDING: Final = ("bus", "state")
"""Of several replicas, some of these stand still for a while and go on."""
AGENTS: Final = ("publisher", "subscriber", "state_writer", "crashing")
STEADY: Final = "steady"
"""Handlers that are never killed: a subscription that stands still in them does so for ever."""
HANDLED: Final = tuple(name for kind in KINDS for name in durables_of(kind))
MAX_SECONDS_DOWN: Final = 1.5
"""What is killed comes back after a random time up to this: more than a lease."""
SECONDS_STILL: Final = (1.25 * LEASE_SECONDS, 2.5 * LEASE_SECONDS)
STILL_PART: Final = 0.3
"""Of what happens to several replicas, so much is that they stand still."""
TURN_SECONDS: Final = 0.02
POLL_SECONDS: Final = 0.25
PROBES: Final = 32
PROBE_GAP_SECONDS: Final = 0.2
"""After the storm, so many messages are published at once, again and again after so long: more than some of the
subscribers can take, so that all get some."""
DRAIN_SECONDS: Final = 60.0
"""Without anything new delivered for so long, a run is judged as it is."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it, and which.

    Args:
        kills: how many, in about so many `seconds`.
        seed: of what is killed, and when; what the processes make of it depends on the machine.
        replicas: see `Crew`.
    """

    kills: int
    seconds: float
    seed: int
    replicas: int = 0


@dataclass(slots=True)
class Outcome:
    """What became of a run."""

    verdict: Verdict
    kills: dict[str, int] = field(default_factory=dict)
    """By role."""
    stops: int = 0
    """How often a replica stood still."""
    failures: list[str] = field(default_factory=list)
    """Processes that ended by themselves, or did not finish; and what was left waiting."""
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Nothing was wrong."""
        return not self.verdict.faults and not self.failures


def torture(plan: Plan, directory: Path, tell: Callable[[str], None]) -> Outcome:
    """Runs it in an empty directory, and tells how it goes on."""
    began = time.monotonic()
    with Crew(directory, plan.replicas) as crew:
        _man(crew, plan.seed)
        services = ("redis", *SERVICES) if plan.replicas else SERVICES
        crew.bring_up(*services)
        asyncio.run(create_groups(crew.bus_address))
        crew.bring_up(*AGENTS, STEADY)
        _kill_at_random(crew, plan, (*services, *AGENTS), tell)
        tell("settling: everything is brought up, publishers and writers finish")
        crew.bring_up(*services, *AGENTS)
        crew.finish("publisher", "state_writer")
        tell("draining")
        left = asyncio.run(settle(crew))
        tell("looking whether each subscription still gets messages")
        subscriptions = _subscriptions(crew)
        asyncio.run(_probe(crew, subscriptions))
        crew.finish("subscriber", "crashing", STEADY)
        found: list[Found | Buried] = [*read_back(crew.state_address), *asyncio.run(_buried(crew.bus_address))]
        crew.finish(*SERVICES)
        tell("judging")
        facts = (*read_all(crew.ledgers()), *found)
        verdict = audit(facts, GROUPS, HANDLED, subscriptions, owners_stand_still=plan.replicas > 0)
        kills = {role: sum(member.kills for member in crew.having(role)) for role in (*services, *AGENTS)}
        stops = sum(member.stops for member in crew.members)
        return Outcome(verdict, kills, stops, [*crew.failures(), *left], time.monotonic() - began)


def _man(crew: Crew, seed: int) -> None:
    """Two publishers go to the bus and two through the sidecar, three subscribers share a group and two another; so it
    is with handlers. What goes to the bus goes to each of its replicas in turn."""
    buses, states = itertools.cycle(crew.bus_addresses), itertools.cycle(crew.state_addresses)
    for index, address in enumerate((next(buses), crew.sidecar_address, next(buses), crew.sidecar_address)):
        crew.add_agent("publisher", f"publisher-{index}", f"publisher-{index}", address)
    for index, group in enumerate(("workers", "workers", "workers", "archive", "archive")):
        address = crew.sidecar_address if index == 2 else next(buses)
        crew.add_agent("subscriber", f"subscriber-{index}", group, address)
    for index, address in enumerate((*(next(states) for _ in crew.state_addresses), crew.sidecar_address)):
        crew.add_agent("state_writer", f"writer-{index}", f"writer-{index}", address)
    for kind, addresses in (
        (STEADY, (next(buses), crew.sidecar_address)),
        ("crashing", (next(buses), next(buses), crew.sidecar_address)),
    ):
        for index, address in enumerate(addresses):
            words = ("handler", f"{kind}-{index}", kind, address, str(seed))
            crew.add_agent(*words, role=kind, may_end_with=frozenset((0, -signal.SIGKILL, -signal.SIGINT, CRASH_CODE)))


async def create_groups(address: str) -> None:
    """Makes the durable subscriptions, before anything is published."""
    async with GrpcMessageBus(address) as bus:
        for group in GROUPS:
            await bus.create_durable(group, PATTERN, settings=SETTINGS)
        for group in HANDLED:
            await bus.create_durable(group, endings.PATTERN, settings=endings.SETTINGS)


def _kill_at_random(crew: Crew, plan: Plan, roles: Sequence[str], tell: Callable[[str], None]) -> None:
    dice = random.Random(plan.seed)
    pause = plan.seconds / plan.kills
    killed, next_kill = 0, time.monotonic() + dice.uniform(0, 2 * pause)
    while killed < plan.kills and not crew.failures():
        time.sleep(TURN_SECONDS)
        for member in crew.members:
            member.look_after()
        if time.monotonic() < next_kill:
            continue
        member = dice.choice(crew.having(dice.choice(roles)))
        seconds_down = dice.uniform(0, MAX_SECONDS_DOWN)
        next_kill = time.monotonic() + dice.uniform(0, 2 * pause)
        if not member.is_up or member.is_still:
            continue
        if crew.replicas and member.role in STANDING and dice.random() < STILL_PART:
            seconds_still = dice.uniform(*SECONDS_STILL)
            member.stop(seconds_still)
            tell(f"{member.name} stands still for {seconds_still:.1f} s")
        else:
            member.kill(seconds_down)
            killed += 1
            tell(f"kill {killed}: {member.name}, for {seconds_down:.1f} s")


async def settle(crew: Crew, patience: float = DRAIN_SECONDS) -> list[str]:
    """Waits until the bus says that nothing is left, and every group has what was receipted (of which some may be on
    its way from the sidecar still); returns what is left when nothing moves any more."""
    before, since = "", time.monotonic()
    async with grpc.aio.insecure_channel(crew.bus_address) as channel:
        stub: Any = bus_pb2_grpc.BusServiceStub(channel)
        while True:
            left = await _left(stub) or _undelivered(crew)
            if not left:
                return []
            for member in crew.having("crashing"):
                member.look_after()
            if str(left) != before:
                before, since = str(left), time.monotonic()
            elif time.monotonic() - since > patience:
                return left
            await asyncio.sleep(POLL_SECONDS)


async def _left(stub: Any) -> list[str]:
    """What the bus says of groups that are not done."""
    left = []
    for group in (*GROUPS, *HANDLED):
        request = durable_pb2.GetDurableSubscriptionRequest(name=group)
        try:
            now = (await stub.GetDurableSubscription(request)).subscription
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return [f"the bus cannot be asked: {error.details()}"]  # another replica takes the journal over
        if now.waiting or now.leased or now.retrying:
            left.append(f"{group}: {now.waiting} waiting, {now.leased} leased, {now.retrying} retrying")
        if now.dead_lettered and group in GROUPS:
            left.append(f"{group}: {now.dead_lettered} dead letters")
    return left


def _undelivered(crew: Crew) -> list[str]:
    verdict = audit(read_all(crew.ledgers()), GROUPS)
    missing = verdict.count(Wrong.NEVER_DELIVERED)
    return [f"{missing} messages that were receipted have not come"] if missing else []


def _subscriptions(crew: Crew) -> list[tuple[str, str]]:
    """Member and face of each that must still get messages."""
    return [
        *((member.name, "durable") for member in crew.having("subscriber")),
        *((member.name, face) for member in crew.having(STEADY, "crashing") for face in Face),
    ]


async def _probe(crew: Crew, subscriptions: Sequence[tuple[str, str]]) -> None:
    """Publishes until each subscription got something, or for long enough."""
    deadline = time.monotonic() + DRAIN_SECONDS
    ledgers = {name: crew.ledger_of(name) for name, _ in subscriptions}
    begins = {name: path.stat().st_size if path.exists() else 0 for name, path in ledgers.items()}
    async with GrpcMessageBus(crew.bus_address) as bus:
        for number in itertools.count(1):
            for index in range(PROBES):
                sent = probe(number * PROBES + index)
                await bus.publish(channel_of(sent), compose(sent), stored=True)
            await asyncio.sleep(PROBE_GAP_SECONDS)
            for member in crew.having("crashing"):
                member.look_after()
            got = {
                (fact.member, fact.face)
                for name, path in ledgers.items()
                for fact in read(path, begins[name])
                if isinstance(fact, Probed)
            }
            if got.issuperset(subscriptions) or time.monotonic() > deadline:
                return


async def _buried(address: str) -> list[Buried]:
    """All dead letters of those whose handlers end in every way."""
    async with GrpcMessageBus(address) as bus:
        return [
            Buried(
                group,
                letter.message.message_id,
                letter.reason,
                {attempt.number: attempt.error for attempt in letter.attempts},
            )
            for group in HANDLED
            async for letter in bus.dead_letters(durable=group)
        ]


def read_back(address: str) -> Iterator[Found]:
    """All records that the state service has."""
    with grpc.insecure_channel(address) as channel:
        stub = state_pb2_grpc.StateServiceStub(channel)
        token = ""
        while True:
            request = state_pb2.ListRequest(kind=state_pb2.RECORD_KIND_AGENT_STATE, page_size=1000, page_token=token)
            page: state_pb2.ListResponse = stub.List(request)
            for record in page.records:
                value = json.loads(record.agent_state.metadata_json)["value"]
                yield Found(record.agent_state.agent_id, record.revision, value)
            token = page.next_page_token
            if not token:
                return
