"""The Redis engine: one store for any number of replicas.

engine    the engine: plans, commits, reads
attempt   one plan of a group of transactions, and what it relied on
scripts   what Redis does in one step
layout    the keys, and how records are written in them
follower  hears what all replicas commit
reads     lookups that share round trips, and pages
outbox    the messages that wait for the bus
"""
