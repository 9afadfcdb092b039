"""Replicas: bus programs that share one journal in Redis, as processes of their own."""

from __future__ import annotations

import time
from typing import Any, Protocol, Self

import grpc

from tests.patience import PATIENCE
from tests.programs import RunningProgram, health
from trunkline.programs import Program
from trunkline.v1 import bus_pb2, bus_pb2_grpc

PACE = 0.02
SERVICE = "trunkline.v1.BusService"


class Where(Protocol):
    """A Redis, of any topology."""

    @property
    def url(self) -> str:
        """Where it is."""


def stats(address: str, timeout: float = PATIENCE) -> bus_pb2.GetStatsResponse:
    """What a bus says of itself."""
    with grpc.insecure_channel(address) as channel:
        stub: Any = bus_pb2_grpc.BusServiceStub(channel)
        answer: bus_pb2.GetStatsResponse = stub.GetStats(
            bus_pb2.GetStatsRequest(), timeout=timeout, wait_for_ready=True
        )
        return answer


class Replicas:
    """Some buses over one Redis. Whoever makes it ends it, or enters it as a context, in which they run.

    Args:
        redis: where the journal is.
        count: how many.
        options: of each besides.
    """

    def __init__(self, redis: Where, count: int, *options: str) -> None:
        self.redis = redis
        self.programs = [
            RunningProgram("bus", "--engine", "redis", "--redis-url", redis.url, *options) for _ in range(count)
        ]

    def start(self) -> Self:
        """Starts them; returns when one owns the journal and all know it."""
        for program in self.programs:
            Program.start(program)
        for program in self.programs:
            program.wait_ready(PATIENCE)
        self.settle()
        return self

    @property
    def addresses(self) -> list[str]:
        """Where they serve."""
        return [program.address for program in self.programs]

    def settle(self, *without: RunningProgram) -> RunningProgram:
        """Returns the one that owns the journal, when all agree on it and it is open there; some are not asked."""
        end = time.monotonic() + PATIENCE
        said: list[str] = []
        while time.monotonic() < end:
            running = [each for each in self.programs if each not in without]
            said = [stats(each.address).journal_owner for each in running]
            owners = [each for each in running if {each.address} == set(said)]
            if owners and all(health(each.address, SERVICE) == "SERVING" for each in running):
                return owners[0]
            time.sleep(PACE)
        raise AssertionError(f"the replicas do not agree on who owns the journal: {said}")

    @property
    def others(self) -> list[RunningProgram]:
        """Those that do not own the journal."""
        owner = self.settle()
        return [each for each in self.programs if each is not owner]

    def end(self) -> None:
        """Makes sure that they are gone."""
        for program in self.programs:
            program.end()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.end()
            raise

    def __exit__(self, *_: object) -> None:
        self.end()
