"""The sidecar: the local program beside the agents.

config      its settings
app         its parts put together
servicer    BusService and StateService, each call passed on as raw bytes
forwarder   the way to one upstream service: its connection, deadlines that shrink, statuses that come back unchanged
agents      programs on the UNIX socket (newline-delimited JSON), reached over the bus by their names
session     one of their connections
metrics     what it counts
"""
