"""Kept: what the bus itself says of the run's durable subscriptions and dead letters."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from trunkline import SubscriptionNotFoundError, TrunklineError, sync
from trunkline.demo.posts import DURABLES, Job

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
    """Reads all of the run's durable subscriptions."""
    found = []
    with sync.MessageBus(address) as bus:
        for name in DURABLES:
            kept = bus.durable(job.durable(name))
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
    """Returns why messages of the run are dead letters, by message id."""
    with sync.MessageBus(address) as bus:
        return {
            letter.message.message_id: letter.error
            for name in DURABLES
            for letter in bus.dead_letters(durable=job.durable(name), brief=True)
        }


def forget(address: str, job: Job) -> None:
    """Deletes the run's durable subscriptions, so that a bus that goes on keeps nothing for them."""
    try:
        with sync.MessageBus(address) as bus:
            for name in DURABLES:
                try:
                    bus.delete_durable(job.durable(name))
                except SubscriptionNotFoundError as error:
                    log.debug("%s was not deleted: %s", name, error)  # it was never made
    except TrunklineError as error:
        log.debug("the run's durable subscriptions were not deleted: %s", error)  # the bus has gone
