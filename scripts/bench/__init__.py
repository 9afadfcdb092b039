"""Trunkline measured beside its peers, in the same run on the same machine: `make bench`, or, where the extra `bench`
and the peers' servers are installed, `python -m scripts.bench`.

    cli            the command: options, exit code
    comparison     interleaved runs, medians, ratios
    report         the table for people, bench-results.json for programs
    work, works/   what is measured: one file for each kind of work
    peer, peers/   who is measured: one file for each technology, Trunkline among them
    promise(s)     figures of our own that have a bound and no peer
    contender      a peer, or ourselves on another version of grpcio
    stage          one run: a fresh server and a process for each role
    processes      those processes: started, waited for, ended
    barrier        all roles are ready before one begins
    roles          what runs in them: publisher, subscriber, stalled, requester, responder, saver, getter;
                   wire_roles, channel_roles: what speaks to the bus by its wire, and the sides of a MessageChannel
    resources      what a process costs

We are measured more strictly than the peers: every publish of ours builds a fresh AgentMessage inside the timed loop
and every callback reads the payload, while the peers send bytes that were made before; our saves are synced to disk.
"""

from scripts.bench.cli import command, main

__all__ = ["command", "main"]
