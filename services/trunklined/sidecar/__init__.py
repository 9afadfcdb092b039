"""The sidecar: the local program beside the agents.

app          its parts put together; config: its settings; metrics: its counts
door         lets other users' programs come to the gRPC socket, each asked who it is
servicer     BusService and StateService, each call passed on as raw bytes
offline/     store and forward, while the bus is away
  calls        the calls that publish; open_stream, publish_stream: two of them as streams, on stream
  routing      whether what is to be stored goes to the bus, or is held here
  stuck        the call that tells what is held
  holder       takes what is held: checked, and answered when it is durable
  backlog      what is held, on disk; backlog_file is its file
  drain        hands it to the bus when that is back
lines/       programs on the UNIX socket (newline-delimited JSON), reached over the bus by their names
  bridge       their lines to the bus and back; session: one connection
"""
