"""Who was refused what, as metrics show it."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable
from pathlib import Path

import grpc
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tests.access.calls import CALLS, ask
from tests.access.conftest import Issuer
from tests.conftest import StartProgram
from trunkline.v1 import bus_pb2
from trunklined.access.refusals import OTHERS, UNKNOWN, Refusals

POLICY = """
[[allow]]
who = ["a", "b", "c"]
inspect = ["stats"]
[[limit]]
who = ["*"]
messages_per_second = 0.0001
messages_burst = 1
"""


@given(st.lists(st.sampled_from("abcdef")), st.integers(0, 4))
def test_names_are_bounded_and_nothing_is_left_out(refused: list[str], names: int) -> None:
    """All that is counted is shown, by no more names than wished, and no counter ever falls."""
    refusals, before = Refusals(names), dict[str, int]()
    for name in refused:
        refusals.add(name, "limit")
        now = {name: count for name, _, count in refusals.counts()}
        assert all(now[name] >= count for name, count in before.items())
        before = now
    assert sum(before.values()) == len(refused)
    assert len(before.keys() - {OTHERS, UNKNOWN}) <= names


async def test_they_are_shown_by_identity(
    start_program: StartProgram, issuer: Issuer, access_file: Callable[[str], Path]
) -> None:
    """The first ones by name, all others together; who proved nothing is unknown."""
    program = start_program(
        "bus",
        *("--engine", "memory", *issuer.options, "--access-file", str(access_file(POLICY))),
        *("--metrics-address", "127.0.0.1:0", "--metrics-identities", "2"),
    )
    calls = {call.name: call for call in CALLS}
    async with grpc.aio.insecure_channel(program.address) as channel:
        for name in ("a", "b", "c", "d"):
            for _ in range(3):
                by = (("authorization", f"Bearer {issuer.token(name)}"),)
                await ask(channel, calls["GetStats"], bus_pb2.GetStatsRequest(), by)
        await ask(channel, calls["GetStats"], bus_pb2.GetStatsRequest())
    answer = await asyncio.to_thread(urllib.request.urlopen, f"http://{program.metrics_address}/metrics")
    found = {
        (sample.labels["identity"], sample.labels["why"]): sample.value
        for family in text_string_to_metric_families(answer.read().decode())
        for sample in family.samples
        if sample.name == "trunkline_access_denials_total"
    }
    assert found == {
        ("a", "limit"): 2,
        ("b", "limit"): 2,
        (OTHERS, "limit"): 2,
        (OTHERS, "permission"): 3,
        (UNKNOWN, "identity"): 1,
    }
