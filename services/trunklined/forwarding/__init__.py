"""The way to one upstream service, whose calls a program hands on: the sidecar, and a bus whose journal is another's.

forwarder    its connection, deadlines that shrink, statuses that come back unchanged
open_items   what of a client's stream waits for its answer
"""
