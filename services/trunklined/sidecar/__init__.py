"""The sidecar: the local program beside the agents.

config      its settings
app         its parts put together
servicer    BusService and StateService, each call passed on as raw bytes
forwarder   the way to one upstream service: its connection, deadlines that shrink, statuses that come back unchanged
stand_in    the calls that publish, while the bus is away; a diversion is one of their streams
gate        whether what is to be stored passes to the bus, or is held here
backlog     what is held, on disk; backlog_file is its file
relay       hands it to the bus when that is back
store       those put together
agents      programs on the UNIX socket (newline-delimited JSON), reached over the bus by their names
session     one of their connections
metrics     what it counts
"""
