"""Kept: what the bus itself says of the run's durable subscriptions and dead letters."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from trunkline.demo.limits import END_SECONDS
from trunkline.demo.posts import DURABLES, Job
from trunkline.v1 import bus_pb2_grpc, dead_letter_pb2, durable_pb2

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """One durable subscription's counts. They lie in the journal, so they outlive the program.

    Args:
        delivered: how often a message was handed out.
        redelivered: how often it was so for another time, with an attempt above 1.
        open: messages that wait, or that are leased.
    """

    name: str
    delivered: int
    redelivered: int
    acked: int
    dead_letters: int
    open: int


def read(address: str, job: Job) -> list[Kept]:
    """Of all the run's durable subscriptions."""
    found = []
    with _stub(address) as stub:
        for name in DURABLES:
            request = durable_pb2.GetDurableSubscriptionRequest(name=job.durable(name))
            kept = stub.GetDurableSubscription(request, timeout=END_SECONDS).subscription
            begun = kept.acked + kept.dead_lettered + kept.leased + kept.retrying
            found.append(
                Kept(
                    name,
                    delivered=begun + kept.redelivered,
                    redelivered=kept.redelivered,
                    acked=kept.acked,
                    dead_letters=kept.dead_lettered,
                    open=kept.waiting + kept.leased + kept.retrying,
                )
            )
    return found


def dead_letters(address: str, job: Job) -> dict[str, str]:
    """Why the messages of the run are dead letters, by message id."""
    reasons: dict[str, str] = {}
    with _stub(address) as stub:
        for name in DURABLES:
            chosen = dead_letter_pb2.DeadLetterFilter(durable=job.durable(name))
            request = dead_letter_pb2.ListDeadLettersRequest(filter=chosen, page_size=1_000, brief=True)
            for letter in stub.ListDeadLetters(request, timeout=END_SECONDS).dead_letters:
                reasons[letter.message.message_id] = letter.error
    return reasons


def forget(address: str, job: Job) -> None:
    """Deletes the run's durable subscriptions, so that a bus that goes on keeps nothing for them."""
    with _stub(address) as stub:
        for name in DURABLES:
            request = durable_pb2.DeleteDurableSubscriptionRequest(name=job.durable(name))
            try:
                stub.DeleteDurableSubscription(request, timeout=END_SECONDS)
            except grpc.RpcError as error:
                log.debug("%s was not deleted: %s", name, error)  # it was never made, or the bus has gone


@contextmanager
def _stub(address: str) -> Iterator[Any]:
    with grpc.insecure_channel(address) as channel:
        yield bus_pb2_grpc.BusServiceStub(channel)
