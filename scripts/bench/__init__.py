"""Trunkline measured beside its peers, in the same run on the same machine: `make bench`, or, where the extra `bench`
and the peers' servers are installed, `python -m scripts.bench`.

    cli            the command: options, exit code
    comparison     interleaved runs, medians, ratios
    report         the table for people, bench-results.json for programs
    questions      what a reader asks: each has its part of the table
    work, works/   what is measured: one file for each kind of work
    peer, peers/   who is measured: one file for each technology, Trunkline among them
    promise(s)     figures of our own that have a bound and no peer
    contender      a peer, or ourselves on another version of grpcio
    stage          one run: a fresh server and a process for each role
    processes      those processes: started, waited for, ended
    barrier        all roles are ready before one begins
    roles          the process of a role; what it does there is in
                   peer_roles (publisher, subscriber, requester, responder, saver, getter, storer, consumer),
                   wire_roles (what speaks to our bus by its wire), channel_roles (the sides of a MessageChannel)
    resources      what a process costs

A peer may run in an environment of its own, which has not what we need: so roles load nothing of ours that their peer
does not load, and this file loads nothing at all.
"""
