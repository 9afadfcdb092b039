"""A bus of several replicas, for people who have nothing but grpcurl."""

from __future__ import annotations

from tests.grpcurl.conftest import Grpcurl
from tests.redis.replicas import Replicas
from tests.redis.servers import running


def test_any_replica_says_who_there_is_and_which_has_what(grpcurl: Grpcurl, channel: str, name: str) -> None:
    """Figures of all of them, the owner of the journal, and the replica of a durable subscription."""
    service = "trunkline.v1.BusService"
    with running() as redis:
        replicas = Replicas(redis, 2)
        try:
            replicas.start()
            owner, (other,) = replicas.settle(), replicas.others
            grpcurl(other.address, f"{service}/CreateDurableSubscription", {"name": name, "pattern": channel}).json()
            said = grpcurl(other.address, f"{service}/GetStats").json()
            assert said["address"] == other.address
            (one,) = said["others"]
            assert one["address"] == said["journal_owner"] == owner.address
            assert [one["replica"]] == said["other_replicas"]
            assert one["durable_subscriptions"] == said["durable_subscriptions"] == "1"
            (durable,) = grpcurl(other.address, f"{service}/ListDurableSubscriptions").json()["subscriptions"]
            assert (durable["name"], durable["replica"]) == (name, one["replica"])
        finally:
            replicas.end()
